"""The command line of the test client on the official Python library."""

import argparse
import os
import signal
import sys
import threading


KINDS = ["normal", "fifo", "delay", "recall", "transaction", "priority"]


def positive(text):
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def parse(arguments):
    parser = argparse.ArgumentParser(prog="clients/run python", description=__doc__)
    parser.add_argument("--endpoints", required=True, help="host:port")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", help="consumer group")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--name", help="name of this client in histories; must be unique")
    parser.add_argument("--start-timeout", type=float, default=30, metavar="SECONDS", help="for the broker to be there")
    parser.add_argument("--access-key", help="of the user that produces or consumes; of the scenario access")
    parser.add_argument("--secret-key")
    commands = parser.add_subparsers(dest="command", required=True)

    produce = commands.add_parser("produce")
    produce.add_argument("--count", type=int, default=0, help="messages to send; 0: until stopped")
    produce.add_argument("--rate", type=positive, default=None, help="messages per second; as fast as possible")
    produce.add_argument("--in-flight", type=int, default=16)
    produce.add_argument("--size", type=int, default=256, help="bytes of a body")
    produce.add_argument("--type", choices=KINDS, default="normal")
    produce.add_argument("--delay", type=int, default=2, metavar="SECONDS", help="of types delay and recall")
    history(produce)

    consume = commands.add_parser("consume")
    consume.add_argument("--kind", choices=["simple", "push"], default="simple")
    consume.add_argument("--count", type=int, default=0, help="stop after so many different messages")
    consume.add_argument("--until-idle", type=positive, default=None, metavar="SECONDS")
    consume.add_argument("--first-within", type=positive, default=0, metavar="SECONDS", help="idle only then, before any came")
    consume.add_argument("--duration", type=positive, default=None, metavar="SECONDS")
    consume.add_argument("--in-flight", type=int, default=8, help="threads that receive and acknowledge")
    consume.add_argument("--filter", default="*", help="expression")
    consume.add_argument("--sql", action="store_true", help="the filter is SQL")
    consume.add_argument("--wants", metavar="TAGS", help="what the filter takes of our producers' messages, for the history")
    consume.add_argument("--order", choices=["concurrent", "fifo"], help="of the consumer group, for the history")
    consume.add_argument("--max-attempts", type=int, help="of the consumer group, for the history")
    consume.add_argument("--rest", type=float, default=0, metavar="SECONDS", help="after each receive with messages")
    consume.add_argument("--give-back", type=int, default=0, metavar="SECONDS", help="every fifth message")
    consume.add_argument("--give-back-times", type=int, default=1, metavar="N", help="at its first N attempts")
    receiving(consume)
    history(consume)

    smoke = commands.add_parser("smoke", help="send, receive and acknowledge 10 messages")
    receiving(smoke)
    smoke.set_defaults(filter="*", sql=False)

    scenario = commands.add_parser("scenario", help="run scenarios, each with a topic and a group of its own")
    scenario.add_argument("names", nargs="+", metavar="NAME")
    scenario.add_argument("--access-endpoints", metavar="HOST:PORT", help="of a broker with access control")

    parsed = parser.parse_args(arguments)
    if parsed.command == "consume" and not parsed.group:
        parser.error("consume needs --group")
    return parsed


def receiving(parser):
    parser.add_argument("--invisible", type=int, default=30, metavar="SECONDS")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--wait", type=int, default=5, metavar="SECONDS", help="long polling time")


def history(parser):
    parser.add_argument("--history", required=True, metavar="FILE")
    parser.add_argument("--progress", type=float, default=1, metavar="SECONDS", help="0: print only the last counts")


def parts(words):
    """Several command lines with + between them are run at once."""
    lines = [[]]
    for word in words:
        if word == "+":
            lines.append([])
        else:
            lines[-1].append(word)
    return [parse(line) for line in lines]


def run(arguments, stop):
    """Whether all went well."""
    # After the arguments: loading the library takes long.
    from consume import consume
    from produce import produce
    from smoke import smoke

    try:
        if arguments.command == "scenario":
            from scenario import scenario

            return scenario(arguments)
        if arguments.command == "smoke":
            client = smoke(arguments)
        else:
            client = {"produce": produce, "consume": consume}[arguments.command](arguments, stop)
    except Exception as error:  # noqa: BLE001
        what = f"{arguments.command} {arguments.name or arguments.topic}"
        print(f"python: {what} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    # Saying goodbye must not outlive an unreachable broker.
    goodbye = threading.Thread(target=client.shutdown, daemon=True)
    goodbye.start()
    goodbye.join(3)
    return True


def main():
    lines = parts(sys.argv[1:])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if len(lines) == 1:
        leave(0 if run(lines[0], stop) else 1)
    well = [False] * len(lines)

    def part(number):
        well[number] = run(lines[number], stop)

    threads = [threading.Thread(target=part, args=(number,), daemon=True) for number in range(len(lines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        # Signals reach only a thread that does not wait for ever.
        while thread.is_alive():
            thread.join(0.2)
    leave(0 if all(well) else 1)


def leave(code):
    """Without waiting for the library's threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
