"""Writes a client's history: one JSON object per line, on disk before the caller goes on.

README.md beside the launcher describes the lines.
"""

import hashlib
import itertools
import json
import os
import secrets
import threading
import time


def clock():
    """Nanoseconds of the machine's monotonic clock, the same for all processes."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def checksum(body):
    return hashlib.sha256(body).hexdigest()[:16]


def client_name(role):
    return f"python-{role}-{os.getpid()}-{secrets.token_hex(3)}"


def id_in(body):
    """The id in a body that one of our producers wrote, else nothing."""
    head, line_end, _ = body[:256].partition(b"\n")
    try:
        return head.decode("ascii") if line_end else None
    except UnicodeDecodeError:
        return None


class History:
    """Every line is one write of the system, so lines of threads do not mix and a killed client tears at most the last."""

    def __init__(self, path, client):
        self.client = client
        self._calls = itertools.count(1)
        self._lock = threading.Lock()
        self._ended = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._file = os.open(path, flags, 0o644) if path else None

    def start(self, language, version, topic, group=None, filter_expression=None, **more):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        self._write([self._line("start", boot=boot, language=language, version=version, topic=topic, group=group,
                                filter=filter_expression, **more)])

    def invoke(self, op, **fields):
        """The number of the call; nothing once the history has ended: nobody may act on it any more."""
        call = next(self._calls)
        return call if self._write([self._line("invoke", op=op, call=call, **fields)]) else None

    def complete(self, op, call, outcome, messages=(), **fields):
        """Messages that the call brought come before its end: a call that ended has told all."""
        lines = [self._line("message", call=call, **message) for message in messages]
        lines.append(self._line("complete", op=op, call=call, outcome=outcome, **fields))
        self._write(lines)

    def message(self, described):
        """A message that a push consumer was given."""
        self._write([self._line("message", **described)])

    def end(self, reason, **counts):
        with self._lock:
            self._append([self._line("end", reason=reason, **counts)])
            self._ended = True

    def _line(self, event, **fields):
        line = {"event": event, "ts": clock(), "wall": time.time_ns() // 1_000_000, "client": self.client}
        line.update((key, value) for key, value in fields.items() if value is not None)
        return json.dumps(line, separators=(",", ":"))

    def _write(self, lines):
        with self._lock:
            # A call that ends after the end line is one whose end nobody saw.
            if not self._ended:
                self._append(lines)
            return not self._ended

    def _append(self, lines):
        if self._file is not None:
            os.write(self._file, ("\n".join(lines) + "\n").encode())
