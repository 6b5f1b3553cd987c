"""Sends numbered messages from several threads and writes down how each send ended."""

import random
import threading
import time

from history import History, checksum, client_name
from kinds import KINDS
from library import VERSION, Message, explain, new_producer
from progress import Progress

# After a failed send: an unreachable broker must not use up all messages in a moment.
PAUSE_AFTER_FAILURE = 0.1
# At the end, for calls under way: three requests of three seconds each.
LAST_CALLS = 10
FILLER = bytes(range(32, 127)) * 64


class Numbers:
    """Hands out the numbers of messages at the wanted rate until there are enough."""

    def __init__(self, count, rate, stop):
        self._count = count
        self._rate = rate
        self._stop = stop
        self._next = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def take(self):
        with self._lock:
            if self._stop.is_set() or (self._count and self._next >= self._count):
                return None
            number = self._next
            self._next += 1
        if self._rate:
            due = self._began + number / self._rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return None
        return number


def body_of(message_id, size):
    """The id, a line end, and filler that differs between messages."""
    head = message_id.encode() + b"\n"
    filler = max(0, size - len(head))
    begin = sum(head) % 95
    return head + (FILLER[begin : begin + filler] if filler <= 4096 else random.Random(message_id).randbytes(filler))


def message_for(topic, message_id, number, size):
    message = Message()
    message.topic = topic
    message.body = body_of(message_id, size)
    if number % 2 == 0:
        message.tag = "even"
    if number % 3 == 0:
        message.keys = f"key-{number}"
    if number % 5 == 0:
        message.add_property("number", str(number))
    message.add_property("quarter", str(number % 4))
    return message


def send_one(producer, kind, history, progress, session, message_id, message):
    told = kind.prepare(message, session)
    call = history.invoke(
        "send", session=session, id=message_id, checksum=checksum(message.body), tag=message.tag, **told
    )
    progress.add("sent")
    producer.forget_tries()
    try:
        receipt, rest = kind.send(producer, message)
    except Exception as error:  # noqa: BLE001, a client goes on whatever happens
        code, text, certain = explain(error)
        tries = producer.tries()
        outcome = "fail" if certain or tries == 0 else "unknown"
        history.complete("send", call, outcome, code=code, error=text, message_id=message.message_id, tries=tries)
        progress.add("failed" if outcome == "fail" else "unknown")
        return False
    found = {"message_id": receipt.message_id, "offset": kind.offset(receipt), "tries": producer.tries()}
    history.complete("send", call, "ok", **found)
    progress.add("acknowledged")
    if rest:
        rest()
    return True


def worker(producer, kind, arguments, history, progress, numbers, session, stop):
    while (number := numbers.take()) is not None:
        message_id = f"{history.client}-{number}"
        message = message_for(arguments.topic, message_id, number, arguments.size)
        if not send_one(producer, kind, history, progress, session, message_id, message):
            stop.wait(PAUSE_AFTER_FAILURE)


def produce(arguments, stop):
    history = History(arguments.history, arguments.name or client_name("producer"))
    history.start("python", VERSION, arguments.topic)
    progress = Progress(arguments.progress, ["sent", "acknowledged", "unknown", "failed", "asked"], history.client)
    kind = KINDS[arguments.type](arguments, history, progress)
    producer = new_producer(arguments, kind.check)
    with progress:
        numbers = Numbers(arguments.count, arguments.rate, stop)
        threads = [
            threading.Thread(
                target=worker, args=(producer, kind, arguments, history, progress, numbers, f"s{n}", stop), daemon=True
            )
            for n in range(arguments.in_flight)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.2)
        deadline = time.monotonic() + LAST_CALLS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        history.end("signal" if stop.is_set() else "count", **progress.counts())
    return producer
