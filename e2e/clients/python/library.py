"""The official client, with what it knows but does not tell: queue and offset of a message, requests for one send.

Nothing is changed in what goes over the wire.
"""

import asyncio
import concurrent.futures
import itertools
import logging
import threading
import time
from importlib.metadata import version

import grpc
import rocketmq.v5.consumer.consumer as consumer_module
from rocketmq import (
    ClientConfiguration,
    ConsumeResult,
    Credentials,
    FilterExpression,
    Message,
    MessageListener,
    Producer,
    PushConsumer,
    SimpleConsumer,
    TransactionChecker,
    TransactionResolution,
)
from rocketmq.grpc_protocol import FilterType

VERSION = version("rocketmq-python-client")

# Between two attempts to start, in seconds.
START_PAUSE = 0.5

# Refused for what the request is: no repetition of it can have been stored.
CERTAIN_REFUSALS = [range(40000, 40200), range(40300, 40500), range(41300, 41400), range(43100, 43200)]

logging.getLogger("asyncio").setLevel(logging.CRITICAL)


class ObservedMessage(Message):
    """Keeps the place of the message."""

    queue_id = None
    queue_offset = None

    def fromProtobuf(self, message):  # noqa: N802, the library's name
        super().fromProtobuf(message)
        self.queue_id = message.system_properties.queue_id
        self.queue_offset = message.system_properties.queue_offset
        return self


consumer_module.Message = ObservedMessage


class ObservedQueues:
    """Tells which queue a message came from."""

    async def _receive_coroutine(self, queue, req, timeout):
        messages = await super()._receive_coroutine(queue, req, timeout)
        for message in messages:
            message.queue = f"{req.message_queue.broker.name}/{message.queue_id}"
        return messages


class ObservedSimpleConsumer(ObservedQueues, SimpleConsumer):
    pass


class ObservedPushConsumer(ObservedQueues, PushConsumer):
    pass


class ObservedProducer(Producer):
    """Counts the requests of each send; a send is one thread's."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self._tries = threading.local()
        send = self.rpc_client.send_message_async

        def counted(*arguments, **named):
            self._tries.count = self.tries() + 1
            return send(*arguments, **named)

        self.rpc_client.send_message_async = counted

    def tries(self):
        return getattr(self._tries, "count", 0)

    def forget_tries(self):
        self._tries.count = 0


def configuration(arguments):
    user = Credentials(arguments.access_key, arguments.secret_key) if arguments.access_key else Credentials()
    return ClientConfiguration(arguments.endpoints, user)


class Listener(MessageListener):
    """Hands every message to a function."""

    def __init__(self, consume):
        self._consume = consume

    def consume(self, message):
        return self._consume(message)


class Checker(TransactionChecker):
    """Answers the broker's questions about transactions with a function."""

    def __init__(self, check):
        self._check = check

    def check(self, message):
        return self._check(message)


def new_producer(arguments, check=None):
    def create():
        checker = Checker(check) if check else None
        return ObservedProducer(configuration(arguments), [arguments.topic], checker, tls_enable=arguments.tls)

    return started(create, arguments.topic, arguments.start_timeout)


def subscription(arguments):
    kind = FilterType.SQL if arguments.sql else FilterType.TAG
    return {arguments.topic: FilterExpression(arguments.filter, kind)}


def new_push_consumer(arguments, consume):
    def create():
        return ObservedPushConsumer(
            configuration(arguments),
            arguments.group,
            Listener(consume),
            subscription(arguments),
            consumption_thread_count=arguments.in_flight,
            tls_enable=arguments.tls,
        )

    return started(create, arguments.topic, arguments.start_timeout)


def new_consumer(arguments):
    def create():
        return ObservedSimpleConsumer(
            configuration(arguments),
            arguments.group,
            subscription(arguments),
            await_duration=arguments.wait,
            tls_enable=arguments.tls,
        )

    return started(create, arguments.topic, arguments.start_timeout)


def started(create, topic, timeout):
    """A client that knows the way to the topic; the broker may still be on its way up.

    There is a second attempt in any case: an answer that comes too fast makes the library open its command stream on the
    caller's thread, which has no event loop, and a push consumer's start then fails after ten seconds.
    """
    deadline = time.monotonic() + timeout
    for attempt in itertools.count():
        client = create()
        try:
            client.startup()
            # The library starts without a route too, and then fails every call.
            client._retrieve_topic_route_data(topic)
            return client
        except Exception:
            if client.is_running:
                client.shutdown()
            if attempt > 0 and time.monotonic() > deadline:
                raise
            time.sleep(START_PAUSE)


def explain(error):
    """Code, text, and whether the operation certainly had no effect."""
    code = getattr(error, "code", None)
    if isinstance(error, grpc.RpcError) and callable(code):
        return code().name, f"{type(error).__name__}: {error.details()}", False
    if isinstance(error, (asyncio.TimeoutError, concurrent.futures.TimeoutError)):
        return "TIMEOUT", "TimeoutError: no answer in time", False
    text = f"{type(error).__name__}: {error}"
    if isinstance(code, int) and code:
        return code, text, any(code in codes for codes in CERTAIN_REFUSALS)
    return None, text, False
