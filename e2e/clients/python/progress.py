"""Counts what happens and prints the counts as JSON lines while it does."""

import json
import sys
import threading


class Progress:
    def __init__(self, period, names, client):
        self._client = client
        self._counts = dict.fromkeys(names, 0)
        self._lock = threading.Lock()
        self._period = period
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._print_regularly, daemon=True)

    def __enter__(self):
        if self._period:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        if self._period:
            self._thread.join()
        self._print(final=True)

    def add(self, name, number=1):
        with self._lock:
            self._counts[name] += number

    def set(self, name, number):
        with self._lock:
            self._counts[name] = max(self._counts[name], number)

    def counts(self):
        with self._lock:
            return dict(self._counts)

    def _print_regularly(self):
        while not self._done.wait(self._period):
            self._print()

    def _print(self, **more):
        # One write, since several may share the output.
        sys.stdout.write(json.dumps({"client": self._client, **self.counts(), **more}) + "\n")
        sys.stdout.flush()
