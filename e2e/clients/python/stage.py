"""What a scenario works with: names of its own, clients that are closed afterwards, and waiting that ends."""

import threading
import time

from library import (
    Checker,
    ClientConfiguration,
    Credentials,
    FilterExpression,
    Listener,
    Message,
    Producer,
    PushConsumer,
    SimpleConsumer,
    started,
)

# Seconds that a delivered message is invisible, and that a receive waits.
INVISIBLE = 30
WAIT = 5


class Failed(Exception):
    """What is not as it should be, for people."""


class Unsupported(Exception):
    """Why this library cannot do it."""


def expect(what, found, wanted):
    if found != wanted:
        raise Failed(f"{what} is {found!r} instead of {wanted!r}")


def text(message):
    return message.body.decode(errors="replace")


def code_of(error):
    """The protocol's status code that the library tells, if any."""
    while error is not None:
        code = getattr(error, "code", None)
        if isinstance(code, int):
            return code
        error = error.__cause__ or error.__context__
    return None


def refused(what, wanted, call):
    """The call must be refused with this status code."""
    try:
        call()
    except Exception as error:  # noqa: BLE001
        if code_of(error) != wanted:
            raise Failed(f"{what} was refused with {type(error).__name__}: {error} instead of code {wanted}") from error
        return
    raise Failed(f"{what} was not refused")


class Stage:
    def __init__(self, arguments, name, limit):
        self.arguments = arguments
        self.topic = self.group = f"{arguments.topic}-{name}"
        self._deadline = time.monotonic() + limit
        self._changed = threading.Condition()
        self._clients = []

    def configuration(self, endpoints=None, credentials=None):
        return ClientConfiguration(endpoints or self.arguments.endpoints, credentials or Credentials())

    def producer(self, check=None, topic=None):
        def create():
            # The library begins no transaction without a checker.
            checker = Checker(check) if check else None
            return Producer(self.configuration(), [topic or self.topic], checker, tls_enable=self.arguments.tls)

        return self._start(create, topic)

    def consumer(self, expression=None, topic=None, group=None):
        def create():
            subscription = {topic or self.topic: expression or FilterExpression()}
            return SimpleConsumer(
                self.configuration(), group or self.group, subscription, WAIT, tls_enable=self.arguments.tls
            )

        return self._start(create, topic)

    def push(self, consume, expression=None):
        def create():
            subscription = {self.topic: expression or FilterExpression()}
            listener = Listener(consume)
            return PushConsumer(self.configuration(), self.group, listener, subscription, tls_enable=self.arguments.tls)

        return self._start(create)

    def _start(self, create, topic=None):
        client = started(create, topic or self.topic, self.arguments.start_timeout)
        self._clients.append(client)
        return client

    def message(self, body, **fields):
        message = Message()
        message.topic = self.topic
        message.body = body.encode()
        properties = fields.pop("properties", {})
        for name, value in fields.items():
            setattr(message, name, value)
        for name, value in properties.items():
            message.add_property(name, value)
        return message

    def wait(self, what, condition):
        """Waits until the condition holds; whoever changes what it looks at calls changed()."""
        with self._changed:
            while not condition():
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise Failed(f"waited in vain for {what() if callable(what) else what}")
                self._changed.wait(min(left, 0.2))

    def changed(self, change):
        with self._changed:
            change()
            self._changed.notify_all()

    def deliveries(self, consumer, what, batch=32):
        """Messages as they come."""
        while time.monotonic() < self._deadline:
            yield from consumer.receive(batch, INVISIBLE)
        raise Failed(f"waited in vain for {what()}")

    def collect(self, consumer, wanted, acknowledge=True):
        """The messages with these bodies, each of which must come once, and nothing else."""
        got = {}
        missing = set(wanted)
        if not missing:
            return got
        for message in self.deliveries(consumer, lambda: sorted(missing)):
            body = text(message)
            if body not in missing:
                raise Failed(f"{body} came {'again' if body in got else 'although it should not'}")
            missing.remove(body)
            got[body] = message
            if acknowledge:
                consumer.ack(message)
            if not missing:
                return got

    def close(self):
        """Says goodbye; an unreachable broker must not hold this up."""
        threads = [threading.Thread(target=client.shutdown, daemon=True) for client in self._clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2)
