"""Tunnels: sessions of nodes with another proxy, to which we are only the way. What goes through is not read.

A node that can't reach a proxy dials one that hears it, and says `Via` before all else. From then on whatever that
connection says goes to the proxy, and whatever the proxy says to the session goes back. Owns which connection goes
where, and nothing else: no numbers, no queue. What can't be passed on ends the tunnel, and with it the session, because
a batch must not be missing in it; the node then looks for another way.
"""

from collections.abc import Callable
from functools import partial

from holdfast.protocols.nodes.frames import Refused, encode_batch


class Tunnels:
    """hears: whether that proxy can be the end of a tunnel. forward(proxy, session, data): to it; data b"": the session
    is over. answer(session, data): to the node's connection. Both say False if that can't be had. limit: of tunnels.
    when_read(session, call): to be called once, when all is taken that has come from nodes.
    """

    def __init__(
        self,
        hears: Callable[[str], bool],
        forward: Callable[[str, bytes, bytes], bool],
        answer: Callable[[bytes, bytes], bool],
        limit: int,
        when_read: Callable[[bytes, Callable[[], object]], object],
    ) -> None:
        self._when_read = when_read
        self._hears = hears
        self._forward = forward
        self._answer = answer
        self._limit = limit
        self._ends: dict[bytes, str] = {}  # session: the proxy; "": it is over, and the node's connection not yet
        self._gone: set[bytes] = set()  # their nodes' connections have ended; what these brought is passed on first

    def __len__(self) -> int:
        return sum(map(bool, self._ends.values()))

    def via(self, session: bytes, proxy: str) -> bool:
        """A node that may have one asks for one. False: it is refused."""
        if len(self) >= self._limit:
            self.refuse(session, f"too many tunnels: the limit is {self._limit}")
        elif self._hears(proxy):
            self._ends[session] = proxy
        else:
            self.refuse(session, "that proxy is not heard here")  # its hello may follow, and is not for us
        return bool(self._ends[session])

    def forward(self, session: bytes, data: bytes) -> bool | None:
        """From a node. False: it goes nowhere. None: this connection is no tunnel's."""
        proxy = self._ends.get(session)
        if not proxy:
            return None if proxy is None else False
        if not self._forward(proxy, session, data):
            self._end(session, "the proxy does not take what goes to it")
        return True

    def returned(self, proxy: str, session: bytes, data: bytes) -> None:
        """From the proxy. What is for a session that has gone is dropped; its end is on the way to the proxy."""
        if self._ends.get(session) != proxy:
            return
        if not data:
            self._end(session, "the session is over")
        elif not self._answer(session, data):
            self._when_read(session, partial(self._end, session, "the node does not take what comes back"))

    def probe(self, session: bytes) -> bool:
        """Its connection may have ended: find out, so that the proxy knows at once. True: it has, or has no tunnel."""
        if session in self._ends and not self._answer(session, b""):
            self._gone.add(session)
            self._when_read(session, partial(self._forget, session))
        return session not in self._ends or session in self._gone

    def _forget(self, session: bytes) -> None:
        self._gone.discard(session)
        proxy = self._ends.pop(session, "")
        if proxy:
            self._forward(proxy, session, b"")

    def tend(self) -> None:
        """Close those whose proxy is not heard any more."""
        for session, proxy in list(self._ends.items()):
            if proxy and not self._hears(proxy):
                self._end(session, "that proxy is not heard any more")

    def _end(self, session: bytes, why: str) -> None:
        if session in self._gone:  # found out meanwhile, and nobody asks again
            self._forget(session)
            return
        proxy = self._ends.get(session)
        if proxy:
            self._forward(proxy, session, b"")
            self.refuse(session, why)

    def refuse(self, session: bytes, why: str, *, fatal: bool = False) -> None:
        """What its node still says goes nowhere, until `probe` finds that its connection has ended."""
        self._ends[session] = ""
        self._answer(session, encode_batch(0, [Refused(why, fatal)]))
