"""Ten messages there and back: does this client work with that broker at all?"""

import secrets
import time

from library import Message, new_consumer, new_producer

MESSAGES = 10
LIMIT = 30


class Broken(Exception):
    """What did not work, for people."""


def smoke(arguments):
    arguments.group = arguments.group or f"smoke-{secrets.token_hex(4)}"
    consumer = new_consumer(arguments)
    producer = new_producer(arguments)
    run = secrets.token_hex(4)
    bodies = {f"smoke-{run}-{number}": None for number in range(MESSAGES)}
    for body in bodies:
        message = Message()
        message.topic = arguments.topic
        message.body = body.encode()
        message.tag = "smoke"
        message.keys = body
        message.add_property("run", run)
        receipt = producer.send(message)
        if receipt.message_id != message.message_id:
            raise Broken(f"sent message id {message.message_id}, the receipt says {receipt.message_id}")
        bodies[body] = message.message_id
    receive_all(consumer, arguments, run, bodies)
    print(f"python: sent, received and acknowledged {MESSAGES} messages")
    return consumer


def receive_all(consumer, arguments, run, bodies):
    missing = dict(bodies)
    deadline = time.monotonic() + LIMIT
    while missing:
        if time.monotonic() > deadline:
            raise Broken(f"{len(missing)} of {MESSAGES} messages did not come within {LIMIT} s: {sorted(missing)}")
        for message in consumer.receive(arguments.batch, arguments.invisible):
            body = message.body.decode(errors="replace")
            if body in missing:
                judge(message, body, missing.pop(body), run)
            consumer.ack(message)


def judge(message, body, message_id, run):
    expected = {
        "message id": (message.message_id, message_id),
        "tag": (message.tag, "smoke"),
        "keys": (message.keys, {body}),
        "properties": (message.properties, {"run": run}),
        "attempt": (message.delivery_attempt, 1),
        "corrupted": (message.corrupted, False),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise Broken(f"{name} of {body} is {found!r} instead of {wanted!r}")
