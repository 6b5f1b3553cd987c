"""Access control: the broker that --access-endpoints names knows the user of --access-key."""

from library import Credentials, FilterExpression, Producer, SimpleConsumer, started
from stage import WAIT, Failed, code_of

UNAUTHORIZED = 40100


def access(stage):
    """The right key works for what its user may do; a wrong key, no key and a topic of others are refused."""
    options = stage.arguments
    if not (options.access_endpoints and options.access_key and options.secret_key):
        raise Failed("--access-endpoints, --access-key and --secret-key are needed")
    right = Credentials(options.access_key, options.secret_key)

    def producer(credentials, topic=stage.topic):
        return Producer(stage.configuration(options.access_endpoints, credentials), [topic], tls_enable=options.tls)

    def create():
        return SimpleConsumer(
            stage.configuration(options.access_endpoints, right),
            stage.group,
            {stage.topic: FilterExpression()},
            WAIT,
            tls_enable=options.tls,
        )

    consumer = started(create, stage.topic, options.start_timeout)
    sender = started(lambda: producer(right), stage.topic, options.start_timeout)
    sender.send(stage.message("allowed"))
    stage.collect(consumer, ["allowed"])
    for client in (consumer, sender):
        client.shutdown()

    def attempt(credentials, topic):
        client = producer(credentials, topic)
        codes = observed_routes(client)
        try:
            client.startup()
            message = stage.message("forbidden")
            message.topic = topic
            client.send(message)
        except Exception as error:
            error.routes = codes
            raise
        finally:
            if client.is_running:
                client.shutdown()

    denied("a wrong secret", lambda: attempt(Credentials(options.access_key, options.secret_key + "x"), stage.topic))
    denied("an unknown user", lambda: attempt(Credentials("nobody", options.secret_key), stage.topic))
    denied("no key", lambda: attempt(Credentials(), stage.topic))
    denied("a topic of others", lambda: attempt(right, f"{stage.topic}-of-others"))


def observed_routes(client):
    """The codes of answers to the client's first question, which the library keeps to itself."""
    codes = []
    query = client.rpc_client.query_topic_route_async

    def observed(*arguments, **named):
        future = query(*arguments, **named)
        future.add_done_callback(lambda answer: codes.append(answer.result().status.code))
        return future

    client.rpc_client.query_topic_route_async = observed
    return codes


def denied(what, call):
    try:
        call()
    except Exception as error:  # noqa: BLE001
        if code_of(error) != UNAUTHORIZED and set(error.routes) != {UNAUTHORIZED}:
            raise Failed(f"{what} was refused with {type(error).__name__}: {error} instead of UNAUTHORIZED") from error
        return
    raise Failed(f"{what} was let in")
