"""Kinds of messages that a producer sends: what goes into the message, what the history tells, how a send ends."""

import contextlib
import time

from library import TransactionResolution


class Normal:
    check = None

    def __init__(self, arguments):
        self.arguments = arguments

    def prepare(self, message, session):
        """Makes the message one of this kind; returns what the history tells about it."""
        return {}

    def send(self, producer, message):
        """Receipt, outcome, and why it is not the usual one."""
        return producer.send(message), "ok", None

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


class Transaction(Normal):
    """Every fourth message is rolled back, of the others every third is left to the broker's question."""

    def check(self, message):
        return TransactionResolution.COMMIT if self.wanted(message) else TransactionResolution.ROLLBACK

    @staticmethod
    def number(message):
        return int(message.body.partition(b"\n")[0].rpartition(b"-")[2])

    def wanted(self, message):
        return self.number(message) % 4 != 0

    def prepare(self, message, session):
        return {"resolution": "commit" if self.wanted(message) else "rollback"}

    def send(self, producer, message):
        transaction = producer.begin_transaction()
        receipt = producer.send(message, transaction)
        if not self.wanted(message):
            # Nothing can commit it any more, whether or not this call is heard.
            with contextlib.suppress(Exception):
                transaction.rollback()
            return receipt, "fail", "rolled back"
        if self.number(message) % 3 == 0:
            return receipt, "unknown", "left to the broker's question"
        transaction.commit()
        return receipt, "ok", None

    def offset(self, receipt):
        """It has no place in a queue yet."""


KINDS = {"normal": Normal, "fifo": Fifo, "delay": Delay, "transaction": Transaction}
