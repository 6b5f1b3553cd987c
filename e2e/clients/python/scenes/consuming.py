"""Ways to consume, and what becomes of messages that nobody can consume."""

import time

from library import ConsumeResult
from stage import Failed, expect, refused, text

INVALID_RECEIPT_HANDLE = 40013
ATTEMPTS = 3


def push(stage):
    """The listener gets every message, once."""
    came = []

    def consume(message):
        stage.changed(lambda: came.append((text(message), message.delivery_attempt)))
        return ConsumeResult.SUCCESS

    stage.push(consume)
    producer = stage.producer()
    bodies = [f"push-{number}" for number in range(20)]
    for body in bodies:
        producer.send(stage.message(body))
    stage.wait(lambda: f"all of {len(bodies)} messages, {len(came)} came", lambda: len(came) >= len(bodies))
    expect("what came", sorted(came), sorted((body, 1) for body in bodies))


def simple(stage):
    """The consumer chooses when a message comes again; the receipt of the earlier delivery is void then."""
    consumer = stage.consumer()
    stage.producer().send(stage.message("once more"))
    first = next(stage.deliveries(consumer, lambda: "the message"))
    expect("attempt", first.delivery_attempt, 1)
    consumer.change_invisible_duration(first, 2)
    changed = time.monotonic()
    second = next(stage.deliveries(consumer, lambda: "the message again"))
    away = time.monotonic() - changed
    if away < 1.9:
        raise Failed(f"the message came again after {away:.3f} s instead of 2 s")
    expect("attempt", second.delivery_attempt, 2)
    refused("an acknowledgement of the first delivery", INVALID_RECEIPT_HANDLE, lambda: consumer.ack(first))
    consumer.ack(second)
    return {"away_ms": round(away * 1000)}


class Ordered:
    """Notes what a FIFO listener is given, and that a message group has one message at a time."""

    def __init__(self, stage, fails):
        self._stage = stage
        self._fails = fails
        self.came = {"a": [], "b": [], "c": []}
        self._busy = set()
        self.overlap = None

    def consume(self, message):
        body = text(message)
        group, number = body.split("-")
        self._stage.changed(lambda: self._begin(group, int(number)))
        failed = self._fails(body, self.came[group].count(int(number)))
        self._stage.changed(lambda: self._busy.discard(group))
        return ConsumeResult.FAILURE if failed else ConsumeResult.SUCCESS

    def _begin(self, group, number):
        if group in self._busy:
            self.overlap = f"{group}-{number} came while another message of its group was being consumed"
        self._busy.add(group)
        self.came[group].append(number)

    def send(self, producer):
        for number in range(6):
            for group in self.came:
                producer.send(self._stage.message(f"{group}-{number}", message_group=group))

    def wait(self, wanted):
        def enough():
            return all(len(self.came[group]) >= len(wanted[group]) for group in wanted)

        self._stage.wait(lambda: f"{wanted}, came {self.came}", enough)
        expect("what came", self.came, wanted)
        expect("overlap", self.overlap, None)


def fifo(stage):
    """Each message group in its order, one at a time, whatever fails in between; others go on meanwhile."""
    ordered = Ordered(stage, lambda body, times: body == "a-2" and times == 1)
    producer = stage.producer()
    ordered.send(producer)
    stage.push(ordered.consume)
    whole = list(range(6))
    ordered.wait({"a": [0, 1, 2, 2, 3, 4, 5], "b": whole, "c": whole})


def fifo_dead_letter(stage):
    """A message that always fails goes to the dead letters after its last attempt, and the next of its group come."""
    ordered = Ordered(stage, lambda body, times: body == "a-2")
    dead = stage.consumer(topic=f"%DLQ%{stage.group}", group=f"{stage.group}-reader")
    producer = stage.producer()
    ordered.send(producer)
    stage.push(ordered.consume)
    whole = list(range(6))
    ordered.wait({"a": [0, 1, *[2] * ATTEMPTS, 3, 4, 5], "b": whole, "c": whole})
    stage.collect(dead, ["a-2"])


def dead_letter(stage):
    """A message that always fails comes as often as its group allows, then it is a dead letter."""
    attempts = []

    def consume(message):
        stage.changed(lambda: attempts.append(message.delivery_attempt))
        return ConsumeResult.FAILURE

    dead = stage.consumer(topic=f"%DLQ%{stage.group}", group=f"{stage.group}-reader")
    stage.push(consume)
    receipt = stage.producer().send(stage.message("hopeless", tag="blue", properties={"number": "1"}))
    letter = stage.collect(dead, ["hopeless"])["hopeless"]
    expect("attempts", attempts, list(range(1, ATTEMPTS + 1)))
    expect("message id", letter.message_id, receipt.message_id)
    expect("tag", letter.tag, "blue")
    expect("property", letter.properties.get("number"), "1")
