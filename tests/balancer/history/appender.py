"""A process that appends to a log: `python -m tests.balancer.history.appender SETTINGS NUMBER BATCH`.

It begins when it is told to by a line, and appends publications with the identities 0 to NUMBER - 1. It says what it
was told, a line for each batch, flushed, so that it is known when it is killed.
"""

import sys
import time

import msgspec

from holdfast.balancer.history.base import Append, Keep
from holdfast.balancer.history.store import open_log
from holdfast.balancer.settings import HistorySettings, StoreSettings

KEEP = Keep(1_000_000, 0, 3600.0)


def append(number: int) -> Append:
    return Append("c", b"%d" % number, b"payload %d" % number, True, b"", KEEP)


def main(settings: str, number: str, batch: str) -> None:
    log = open_log(msgspec.json.decode(settings, type=StoreSettings), HistorySettings())
    print("ready", flush=True)
    sys.stdin.readline()
    for begin in range(0, int(number), int(batch)):
        appends = [append(each) for each in range(begin, begin + int(batch))]
        print(msgspec.json.encode(log.append(appends, time.time())).decode(), flush=True)
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
