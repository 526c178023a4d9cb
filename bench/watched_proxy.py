"""Holdfast that writes down each time Python's garbage collector stops it.

`python -m bench.watched_proxy serve ...` is `holdfast serve`. PAUSES_FILE names the file: a line of JSON for each
pause, as `Pause` reads it. COLLECTOR=default leaves the collector as Python has it, to see what it is set for.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from holdfast import cli
from holdfast.proxy.process import collector

PAUSES_FILE = "HOLDFAST_BENCH_PAUSES"
COLLECTOR = "HOLDFAST_BENCH_COLLECTOR"
DEFAULT = "default"


class Pause(NamedTuple):
    """at: by time.monotonic(), which is one for all processes. seconds: of CPU. generation: 2 is everything."""

    at: float
    seconds: float
    generation: int


def pauses(since: float, until: float) -> list[Pause]:
    """What the watched proxy has written down of this time."""
    lines = Path(os.environ[PAUSES_FILE]).read_text().splitlines()
    return [pause for pause in (Pause(*json.loads(line)) for line in lines) if since <= pause.at < until]


class _Watch:
    """A callback of the collector."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._began = self._cpu = 0.0

    def __call__(self, phase: str, information: dict[str, Any]) -> None:
        if phase == "start":
            self._began, self._cpu = time.monotonic(), time.thread_time()
        else:
            seconds = time.thread_time() - self._cpu
            os.write(self._file, b"[%f, %f, %d]\n" % (self._began, seconds, information["generation"]))


def main() -> int:
    if os.environ.get(COLLECTOR) == DEFAULT:
        collector.tame = lambda: None
    gc.callbacks.append(_Watch(os.open(os.environ[PAUSES_FILE], os.O_WRONLY | os.O_APPEND)))
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
