"""How long to wait before trying again, and what to say of what failed."""

from collections.abc import Iterator
from random import random

from holdfast.complaints import Complaints

FIRST = 0.1
# A proxy that has just started without the nodes' state waits `state.recover_timeout` (2 s) for nodes that have it, and
# each must have come back by then. So attempts begin once a second, whether a dead proxy refuses them or leaves them
# without an answer (holdfast.node.pump.CONNECT_TIMEOUT). 1,000 nodes make 2,000 a second at most, which is little.
LONGEST = 1.0
# A link that ends sooner counts as one that failed: each costs the proxy snapshots, and what ended it may be met again.
LASTED = 5.0


def delays() -> Iterator[float]:
    """Seconds from one attempt to the next: doubling, with jitter of a half, so that nodes that failed together spread
    out. The first is nearly none: most losses are a restart or a flap that is over at once.
    """
    delay = FIRST
    yield delay * random() / 2
    while True:
        yield delay * (0.5 + random() / 2)
        delay = min(delay * 2, LONGEST)


def pause(delay: float, begun: float, now: float) -> float:
    """Seconds from the end of an attempt, now, to the next one: what is left of the delay since this one began. If
    nothing is, a little all the same: nodes that failed together wait equally long for an answer.
    """
    left = begun + delay - now
    return left if left > 0 else FIRST * random() / 2


class Attempts:
    """At one link, direct or through another proxy, as long as it is wanted. complaints: of what has failed since it
    stood last."""

    def __init__(self) -> None:
        self._delays = delays()
        self._begun = 0.0
        self.complaints = Complaints()

    def begin(self, now: float) -> None:
        self._begun = now

    def stood(self, now: float) -> None:
        """This one was a link, and is over: what fails from now on is news, and tried again soon if it had lasted."""
        if now - self._begun >= LASTED:
            self._delays = delays()
        self.complaints = Complaints()

    def pause(self, now: float) -> float:
        """Seconds from now, when this one is over, to the next."""
        return pause(next(self._delays), self._begun, now)
