"""Runs scenarios one after the other and tells how each went in a JSON line.

A scenario has a topic and a consumer group of its own, both named PREFIX-SCENARIO, and must end within LIMIT.
"""

import json
import threading
import time

from scenes import SCENES
from stage import Failed, Stage, Unsupported

# For one scenario, in seconds; what hangs in the library is left behind a little later.
LIMIT = 25
HUNG = 10


class Play(threading.Thread):
    """One scenario on a thread of its own, so that one which hangs does not hold up the others."""

    def __init__(self, arguments, name):
        super().__init__(daemon=True)
        self._arguments = arguments
        self._name = name
        self.told = {"outcome": "failed", "reason": f"hangs in the library after {LIMIT + HUNG} s"}

    def run(self):
        scene = SCENES.get(self._name)
        if scene is None:
            self.told = {"outcome": "failed", "reason": "this program does not know the scenario"}
            return
        stage = Stage(self._arguments, self._name, LIMIT)
        try:
            self.told = {"outcome": "ok", **(scene(stage) or {})}
        except Unsupported as reason:
            self.told = {"outcome": "unsupported", "reason": str(reason)}
        except Failed as reason:
            self.told = {"outcome": "failed", "reason": str(reason)}
        except Exception as error:  # noqa: BLE001, whatever the library throws is told
            self.told = {"outcome": "failed", "reason": f"{type(error).__name__}: {error}"}
        finally:
            stage.close()


def scenario(arguments):
    """True when none failed."""
    well = True
    for name in arguments.names:
        began = time.monotonic()
        play = Play(arguments, name)
        play.start()
        play.join(LIMIT + HUNG)
        told = dict(play.told)
        seconds = round(time.monotonic() - began, 2)
        print(json.dumps({"scenario": name, "seconds": seconds, **told}), flush=True)
        well = well and told["outcome"] != "failed"
    return well
