"""Messages that are delivered at a time."""

import time

from stage import Failed, expect, text

# A machine at work on many things may be late by so much, in milliseconds; never early.
LATE = 3000


def in_seconds(seconds):
    """The library knows whole seconds only."""
    return int(time.time()) + 1 + seconds


def delay(stage):
    """Not a millisecond early, and not much too late."""
    consumer = stage.consumer()
    producer = stage.producer()
    due = {f"delay-{number}": in_seconds(number) for number in (3, 1, 2)}
    for body, moment in due.items():
        producer.send(stage.message(body, delivery_timestamp=moment))
    late = {}
    for message in stage.deliveries(consumer, lambda: f"more than {late}"):
        body = text(message)
        late[body] = round((time.time() - due[body]) * 1000)
        if not 0 <= late[body] <= LATE:
            raise Failed(f"{body} came {late[body]} ms after its time")
        expect(f"delivery time of {body}", message.delivery_timestamp, due[body] * 1000)
        consumer.ack(message)
        if len(late) == len(due):
            return {"late_ms": max(late.values())}


def recall(stage):
    """What was recalled never comes; what has come cannot be recalled."""
    consumer = stage.consumer()
    producer = stage.producer()
    taken_back = producer.send(stage.message("recalled", delivery_timestamp=in_seconds(2)))
    kept = producer.send(stage.message("kept", delivery_timestamp=in_seconds(3)))
    recalled = producer.recall_message(stage.topic, taken_back.recall_handle)
    expect("message id of the recalled message", recalled, taken_back.message_id)
    stage.collect(consumer, ["kept"])
    try:
        producer.recall_message(stage.topic, kept.recall_handle)
    except Exception:  # noqa: BLE001, which code it is differs
        return
    raise Failed("a message that was delivered could be recalled")
