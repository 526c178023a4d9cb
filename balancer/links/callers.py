"""Whose connection is which: who of those at the door is known, and which session has ended when a connection has.

A message says by which descriptor it came, so nothing has to be asked of anybody else: that a stranger goes is nobody's
end, and that a node does is looked at in its own session only.
"""

from collections.abc import Callable
from enum import Enum

import trio
import zmq

from holdfast.balancer.links.door import INTERVAL, Door

# libzmq says that a connection has ended before it has cleaned up; until then a probe of its session finds nothing.
PROBE_DELAYS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


class Standing(Enum):
    """Of who has no session with us. REFUSED: it has been dealt with, and has not said who it is."""

    NOBODY = "nobody"
    REFUSED = "refused"
    KNOWN = "known"


def descriptor_of(frame: "zmq.Frame") -> int | None:
    """By which connection it came. None: libzmq does not say, of a peer whose ZMTP is older than 3.0."""
    try:
        return int(frame.get("__fd"))
    except zmq.ZMQError:
        return None


class Callers:
    """watched: the socket, not bound yet. probe(identity): whether it is there no more, or nobody has to know."""

    def __init__(self, watched: "zmq.Socket[bytes]", probe: Callable[[bytes], bool], max_strangers: int) -> None:
        self.door = Door(watched, left=self._left, limit=max_strangers)
        self._probe = probe
        self._identities: dict[int, bytes] = {}  # by descriptor, of those that have said something without a session
        self._known: dict[int, bytes] = {}  # of these
        self._refused: dict[int, bytes] = {}  # likewise: they have had their hello
        self._ended: dict[bytes, int] = {}  # identity: how often it was probed since
        self._nap: trio.CancelScope | None = None

    def meet(self, identity: bytes, fd: int, now: float) -> None:
        """It has no session, and says something."""
        if self._identities.get(fd) == identity:
            return
        self.take_events(now)  # what came to be with this descriptor before, its own beginning too
        self._identities[fd] = identity
        self._ended[identity] = len(PROBE_DELAYS) - 1  # its end may have been among these: it is looked at once
        self._wake()

    def is_refused(self, identity: bytes, fd: int) -> bool:
        """A connection has one hello: what this one still says is nothing. Also after its end, when it may wait."""
        return self._refused.get(fd) == identity

    def refuse(self, identity: bytes, fd: int, now: float) -> None:
        """It was told that it may not be here, and is ended soon. Whose session is over may be told again.

        Whom the door can't end is heard again: else nobody would ever answer it.
        """
        if self._known.get(fd) != identity and self.door.refuse(fd, now):
            self._refused[fd] = identity

    def know(self, identity: bytes, fd: int) -> None:
        """It has said who it is."""
        if self._identities.get(fd) == identity:
            self._known[fd] = identity
            self.door.forget(fd)

    def take_events(self, now: float) -> None:
        self.door.take_events(now)

    def _left(self, fd: int) -> None:
        self._known.pop(fd, None)
        self._refused.pop(fd, None)
        identity = self._identities.pop(fd, None)
        if identity is not None:
            self._ended[identity] = 0
            self._wake()

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.cancel(reason="there is something to look at")

    async def watch(self, settle: Callable[[], object]) -> None:
        """Task: look at strangers, and at sessions whose connections have ended. settle: pumps what that caused."""
        descriptor = self.door.fileno()
        while True:
            now = trio.current_time()
            self.take_events(now)
            self.door.look(now, settle)
            with trio.CancelScope(deadline=now + self._pause()) as self._nap:
                await trio.lowlevel.wait_readable(descriptor)
            self._nap = None
            if self._ended:
                self._look_at_ended()
                settle()

    def _pause(self) -> float:
        if self._ended:
            return PROBE_DELAYS[min(self._ended.values())]
        return INTERVAL if self.door.has_work else float("inf")

    def _look_at_ended(self) -> None:
        for identity, probes in list(self._ended.items()):
            if self._probe(identity) or probes + 1 == len(PROBE_DELAYS):
                del self._ended[identity]
            else:
                self._ended[identity] = probes + 1

    def close(self) -> None:
        """Before the socket is."""
        self.door.close()
