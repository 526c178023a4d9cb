"""How long to wait before trying again."""

from collections.abc import Iterator
from random import random

FIRST = 0.1
# A proxy that has just started without the nodes' state waits `state.recover_timeout` (2 s) for nodes that have it, and
# each must have come back by then. So 1,000 nodes dial a dead proxy 1,000 times a second at most, which is little.
LONGEST = 1.0


def delays() -> Iterator[float]:
    """Seconds before each retry: doubling, with jitter of a half, so that nodes that failed together spread out.

    The first is nearly none: most losses are a restart or a flap that is over at once.
    """
    delay = FIRST
    yield delay * random() / 2
    while True:
        yield delay * (0.5 + random() / 2)
        delay = min(delay * 2, LONGEST)
