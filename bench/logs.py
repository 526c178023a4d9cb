"""What logs of channels with history take in memory: `python -m bench.logs`. 10,000 channels, 100 publications of 128
bytes each.

In one process, without sockets. Memory is that which the process has more than before; the identities by which
publications are recognised (history.remember) are in it.
"""

import gc
import os
import sys
import time
from pathlib import Path

from holdfast.balancer.history.base import Append, Keep
from holdfast.balancer.history.memory import MemoryLog

CHANNELS, MESSAGES, BYTES = 10_000, 100, 128
MAX_BYTES = 1 << 30
READS = 2000
KEEP = Keep(MESSAGES, 0, 3600.0)


def main() -> int:
    log, now = MemoryLog(MAX_BYTES), time.time()
    gc.collect()
    before, began = _rss(), time.process_time()
    for number in range(MESSAGES):
        for channel in range(CHANNELS):
            log.append([_publication(channel, number)], now)
    appending = (time.process_time() - began) / (CHANNELS * MESSAGES)
    gc.collect()
    memory, began = _rss() - before, time.process_time()
    for channel in range(READS):
        page = log.read(f"channel-{channel}", 0, MESSAGES, MAX_BYTES, now)
        assert len(page.publications) == MESSAGES
    reading = (time.process_time() - began) / READS
    print(
        f"{memory / 1e6:.0f} MB; CPU: {appending * 1e6:.1f} us an append, {reading * 1e6:.0f} us a page of {MESSAGES}"
    )
    return 0


def _publication(channel: int, number: int) -> Append:
    """With an identity as a node's publications have it."""
    identity = b"chat-5f2a %d %d 0" % (1 << 61, channel * MESSAGES + number)
    return Append(f"channel-{channel}", identity, bytes(BYTES), True, b"", KEEP)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
