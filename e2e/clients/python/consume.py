"""Receives and acknowledges from several threads and writes down everything that came and how each call ended."""

import threading
import time

from history import History, checksum, client_name, id_in
from library import VERSION, explain, new_consumer
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
        """A broker that cannot be asked is no sign that there is nothing more."""
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
        if limits.until_idle and now - self._last_message >= limits.until_idle:
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
                if self.is_given_back(message):
                    self.give_back(message)
                else:
                    self.acknowledge(message)

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
        described = {
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
        message.id = id_in(message.body)
        if message.id is not None:
            described["id"] = message.id
        away = self.arguments.give_back if self.is_given_back(message) else self.arguments.invisible
        described["invisible_ms"] = away * 1000
        return described

    def is_given_back(self, message):
        """Some messages are to come a second time."""
        number = (message.id or "").rpartition("-")[2]
        first = (message.delivery_attempt or 0) <= 1
        return self.arguments.give_back > 0 and first and number.isdigit() and int(number) % 5 == 0

    def give_back(self, message):
        fields = {
            "session": self.session,
            "id": message.id,
            "message_id": message.message_id,
            "queue": message.queue,
            "offset": message.queue_offset,
            "attempt": message.delivery_attempt or 0,
        }
        call = self.history.invoke("change", **fields, invisible_ms=self.arguments.give_back * 1000)
        try:
            self.consumer.change_invisible_duration(message, self.arguments.give_back)
        except Exception as error:  # noqa: BLE001, it comes again when its time is over
            code, text, certain = explain(error)
            self.history.complete("change", call, "fail" if certain else "unknown", code=code, error=text)
            return
        self.history.complete("change", call, "ok")

    def acknowledge(self, message):
        for _ in range(ACK_TRIES):
            call = self.history.invoke(
                "ack",
                session=self.session,
                id=message.id,
                message_id=message.message_id,
                queue=message.queue,
                offset=message.queue_offset,
                attempt=message.delivery_attempt or 0,
            )
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


def consume(arguments, stop):
    history = History(arguments.history, arguments.name or client_name("consumer"))
    history.start("python", VERSION, arguments.topic, arguments.group, arguments.filter, kind="simple", order=arguments.order)
    consumer = new_consumer(arguments)
    counters = ["received", "deliveries", "acknowledged", "receive_errors", "ack_errors"]
    with Progress(arguments.progress, counters) as progress:
        ending = Ending(arguments, stop)
        workers = [
            Worker(consumer, arguments, history, progress, ending, number) for number in range(arguments.in_flight)
        ]
        for worker in workers:
            worker.start()
        while (reason := ending.reason()) is None:
            stop.wait(0.1)
        # A receive that waits for messages may take long; what it still brings is told as not seen to end.
        deadline = time.monotonic() + 1
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        history.end(reason, **progress.counts())
    return consumer
