"""Kinds of messages that a producer sends: what goes into the message, what the history tells, what follows a send."""

import time

from history import id_in
from library import TransactionResolution, explain


def number_of(message):
    return int(id_in(message.body).rpartition("-")[2])


class Normal:
    check = None

    def __init__(self, arguments, history, progress):
        self.arguments = arguments
        self.history = history
        self.progress = progress

    def prepare(self, message, session):
        """Makes the message one of this kind; returns what the history tells about it."""
        return {}

    def send(self, producer, message):
        """The receipt, and what is still to be done then."""
        return producer.send(message), None

    def offset(self, receipt):
        return receipt.offset


class Fifo(Normal):
    def prepare(self, message, session):
        # A session sends one after the other.
        message.message_group = session
        return {"message_group": session}


class Delay(Normal):
    def prepare(self, message, session):
        # The library knows whole seconds only.
        message.delivery_timestamp = int(time.time()) + 1 + self.arguments.delay
        return {"deliver_at": message.delivery_timestamp * 1000}

    def offset(self, receipt):
        """It has no place in a queue yet."""


class Recall(Delay):
    """Every third message is taken back at once."""

    def send(self, producer, message):
        receipt = producer.send(message)
        if number_of(message) % 3:
            return receipt, None
        return receipt, lambda: self.take_back(producer, message, receipt)

    def take_back(self, producer, message, receipt):
        call = self.history.invoke("recall", id=id_in(message.body))
        try:
            producer.recall_message(message.topic, receipt.recall_handle)
        except Exception as error:  # noqa: BLE001, then it comes, or does not
            code, text, certain = explain(error)
            self.history.complete("recall", call, "fail" if certain else "unknown", code=code, error=text)
            return
        self.history.complete("recall", call, "ok")


class Priority(Normal):
    def prepare(self, message, session):
        message.priority = number_of(message) % 10
        return {"priority": message.priority}


class Transaction(Normal):
    """Every fourth message is rolled back, of the others every third is left to the broker's question."""

    def check(self, message):
        verdict = self.verdict(message)
        call = self.history.invoke("decide", id=id_in(message.body), verdict=verdict)
        if call is None:
            return TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED
        self.history.complete("decide", call, "unknown", error="the library answers the broker's question")
        self.progress.add("asked")
        return TransactionResolution.COMMIT if verdict == "commit" else TransactionResolution.ROLLBACK

    def verdict(self, message):
        return "rollback" if number_of(message) % 4 == 0 else "commit"

    def prepare(self, message, session):
        return {"transaction": True}

    def send(self, producer, message):
        transaction = producer.begin_transaction()
        receipt = producer.send(message, transaction)
        verdict = self.verdict(message)
        if verdict == "commit" and number_of(message) % 3 == 0:
            return receipt, None
        end = transaction.commit if verdict == "commit" else transaction.rollback
        return receipt, lambda: self.decide(id_in(message.body), verdict, end)

    def decide(self, message_id, verdict, end):
        call = self.history.invoke("decide", id=message_id, verdict=verdict)
        try:
            end()
        except Exception as error:  # noqa: BLE001, the broker will ask
            code, text, certain = explain(error)
            self.history.complete("decide", call, "fail" if certain else "unknown", code=code, error=text)
            return
        self.history.complete("decide", call, "ok")

    def offset(self, receipt):
        """It has no place in a queue yet."""


KINDS = {
    "normal": Normal,
    "fifo": Fifo,
    "delay": Delay,
    "recall": Recall,
    "transaction": Transaction,
    "priority": Priority,
}
