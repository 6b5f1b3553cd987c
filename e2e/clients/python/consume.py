"""Receives and acknowledges from several threads and writes down everything that came and how each call ended."""

import threading
import time

from history import History, checksum, client_name, id_in
from library import VERSION, ConsumeResult, explain, new_consumer, new_push_consumer
from progress import Progress

PAUSE_AFTER_FAILURE = 0.1
ACK_TRIES = 3


class Ending:
    """Decides when enough has been received."""

    def __init__(self, arguments, stop):
        self._arguments = arguments
        self._stop = stop
        self._ids = set()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._last_message = self._began

    def note(self, ids):
        with self._lock:
            self._ids.update(ids)
            self._last_message = time.monotonic()
            return len(self._ids)

    def postpone(self):
        """Who is busy, and a broker that cannot be asked, are no sign that there is nothing more."""
        with self._lock:
            self._last_message = time.monotonic()

    def reason(self):
        now = time.monotonic()
        limits = self._arguments
        if self._stop.is_set():
            return "signal"
        if limits.count and len(self._ids) >= limits.count:
            return "count"
        if limits.duration and now - self._began >= limits.duration:
            return "duration"
        patience = 0 if self._ids else limits.first_within
        if limits.until_idle and now - self._last_message >= max(limits.until_idle, patience):
            return "idle"
        return None


class Worker(threading.Thread):
    def __init__(self, consumer, arguments, history, progress, ending, number):
        super().__init__(daemon=True)
        self.consumer = consumer
        self.arguments = arguments
        self.history = history
        self.progress = progress
        self.ending = ending
        self.session = f"r{number}"

    def run(self):
        while self.ending.reason() is None:
            messages = self.receive()
            if messages is None:
                time.sleep(PAUSE_AFTER_FAILURE)
                continue
            for message in messages:
                if is_given_back(self.arguments, message):
                    self.give_back(message)
                else:
                    self.acknowledge(message)
                self.ending.postpone()
            if messages:
                time.sleep(self.arguments.rest)

    def receive(self):
        arguments = self.arguments
        call = self.history.invoke("receive", session=self.session)
        try:
            messages = self.consumer.receive(arguments.batch, arguments.invisible)
        except Exception as error:  # noqa: BLE001, a client goes on whatever happens
            code, text, certain = explain(error)
            self.history.complete("receive", call, "fail" if certain else "unknown", code=code, error=text)
            self.progress.add("receive_errors")
            self.ending.postpone()
            return None
        described = [self.describe(message) for message in messages]
        self.history.complete("receive", call, "ok", messages=described, count=len(messages))
        if messages:
            self.progress.set("received", self.ending.note(message["id"] for message in described if "id" in message))
            self.progress.add("deliveries", len(messages))
        return messages

    def describe(self, message):
        away = self.arguments.give_back if is_given_back(self.arguments, message) else self.arguments.invisible
        return {**describe(message), "invisible_ms": away * 1000}

    def give_back(self, message):
        away = self.arguments.give_back * 1000
        call = self.history.invoke("change", session=self.session, **which(message), invisible_ms=away)
        try:
            self.consumer.change_invisible_duration(message, self.arguments.give_back)
        except Exception as error:  # noqa: BLE001, it comes again when its time is over
            code, text, certain = explain(error)
            self.history.complete("change", call, "fail" if certain else "unknown", code=code, error=text)
            return
        self.history.complete("change", call, "ok")

    def acknowledge(self, message):
        for _ in range(ACK_TRIES):
            call = self.history.invoke("ack", session=self.session, **which(message))
            try:
                self.consumer.ack(message)
            except Exception as error:  # noqa: BLE001
                code, text, certain = explain(error)
                self.history.complete("ack", call, "fail" if certain else "unknown", code=code, error=text)
                self.progress.add("ack_errors")
                if certain:
                    return
                time.sleep(PAUSE_AFTER_FAILURE)
                continue
            self.history.complete("ack", call, "ok")
            self.progress.add("acknowledged")
            return


class Listening:
    """What a push consumer is given. Its library acknowledges by itself and does not tell how that ended."""

    def __init__(self, arguments, history, progress, ending):
        self.arguments = arguments
        self.history = history
        self.progress = progress
        self.ending = ending

    def consume(self, message):
        self.history.message(describe(message))
        self.progress.set("received", self.ending.note([message.id] if message.id else []))
        self.progress.add("deliveries")
        if is_given_back(self.arguments, message):
            return ConsumeResult.FAILURE
        call = self.history.invoke("ack", **which(message))
        if call is None:
            return ConsumeResult.FAILURE
        self.history.complete("ack", call, "unknown", error="the library acknowledges")
        self.progress.add("acknowledged")
        return ConsumeResult.SUCCESS


def id_of(message):
    message.id = id_in(message.body)
    return message.id


def describe(message):
    """What the history tells of a message that came."""
    described = {
        "id": id_of(message),
        "checksum": checksum(message.body),
        "message_id": message.message_id,
        "queue": message.queue,
        "offset": message.queue_offset,
        "attempt": message.delivery_attempt or 0,
        "tag": message.tag,
        "corrupted": message.corrupted,
        "message_group": message.message_group,
        # Zero stands for none.
        "deliver_at": message.delivery_timestamp or None,
    }
    return {name: value for name, value in described.items() if value is not None}


def which(message):
    """Names a delivery."""
    return {
        "id": message.id,
        "message_id": message.message_id,
        "queue": message.queue,
        "offset": message.queue_offset,
        "attempt": message.delivery_attempt or 0,
    }


def is_given_back(arguments, message):
    """Some messages are to come again."""
    number = (id_in(message.body) or "").rpartition("-")[2]
    early = (message.delivery_attempt or 0) <= arguments.give_back_times
    return arguments.give_back > 0 and early and number.isdigit() and int(number) % 5 == 0


def receiving(arguments, history, progress, ending):
    """A simple consumer and the threads that work with it."""
    consumer = new_consumer(arguments)
    ending.postpone()
    workers = [Worker(consumer, arguments, history, progress, ending, number) for number in range(arguments.in_flight)]
    for worker in workers:
        worker.start()
    return consumer, workers


def consume(arguments, stop):
    history = History(arguments.history, arguments.name or client_name("consumer"))
    told = {"kind": arguments.kind, "order": arguments.order, "max_attempts": arguments.max_attempts}
    if arguments.sql:
        told["sql"] = arguments.filter
    wants = arguments.wants or arguments.filter
    history.start("python", VERSION, arguments.topic, arguments.group, wants, **told)
    counters = ["received", "deliveries", "acknowledged", "receive_errors", "ack_errors"]
    with Progress(arguments.progress, counters, history.client) as progress:
        ending = Ending(arguments, stop)
        if arguments.kind == "push":
            listening = Listening(arguments, history, progress, ending)
            consumer, workers = new_push_consumer(arguments, listening.consume), []
        else:
            consumer, workers = receiving(arguments, history, progress, ending)
        ending.postpone()
        while (reason := ending.reason()) is None:
            stop.wait(0.1)
        # A receive that waits for messages may take long; what it still brings is told as not seen to end.
        deadline = time.monotonic() + 1
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        history.end(reason, **progress.counts())
    return consumer
