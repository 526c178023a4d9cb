"""How long to wait before trying again."""

from collections.abc import Iterator
from random import random

FIRST = 0.1
LONGEST = 5.0


def delays() -> Iterator[float]:
    """Seconds before each retry: doubling, with jitter of a half, so that nodes that failed together spread out.

    The first is nearly none: most losses are a restart or a flap that is over at once.
    """
    delay = FIRST
    yield delay * random() / 2
    while True:
        yield delay * (0.5 + random() / 2)
        delay = min(delay * 2, LONGEST)
