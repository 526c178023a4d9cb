"""That a client has come and has gone, told to one node: at least once, and marked when it is told again.

Owns what is not told yet: the coming before the going, of each client, and again when no node could take it. Nothing is
kept of clients about whom nobody wants to know.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from holdfast.balancer.calls import Call, Caller, Wish
from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Requester
from holdfast.balancer.taken import ALL, PART, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes.calls import CLOSE, OPEN
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.once")

MAX_WAITING = 100_000  # of what is not told yet; the oldest is given up then
AGAIN = frozenset({Reason.NO_NODE, Reason.PARKING_FULL, Reason.OVERLOADED, Reason.NODE_LOST, Reason.DEADLINE_EXCEEDED})
PATIENCE = 300.0  # seconds for which something is told again and again


class Told(NamedTuple):
    pool: Pool
    wish: Wish


class Event(Call, gc=False):
    """since: when it happened."""

    since: float = 0.0


class Once(Caller):
    """open, close: who wants to be told, and whether anybody does. dispatch: where calls go.

    len(): how many are not told yet.
    """

    def __init__(
        self,
        open: Told,
        close: Told,
        dispatch: Callable[[Requester, Call, Pool], None],
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self._open = open
        self._close = close
        self._dispatch = dispatch
        self._reactor = reactor
        self._counters = counters
        self._opening: dict[int, Event | None] = {}  # clients that are being told as come, and that they have gone
        self._again: deque[Event] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def opened(self, client: int, info: bytes) -> None:
        """It has come. info: the client, encoded."""
        if self._open.wish:
            self._opening[client] = None
            self._tell(Event(OPEN, client=client, info=info, since=self._reactor.now))

    def closed(self, client: int, info: bytes, reason: str) -> None:
        """It has gone."""
        if not self._close.wish:
            return
        event = Event(CLOSE, reason.encode(), True, client, info, since=self._reactor.now)
        if client in self._opening:
            self._opening[client] = event
        else:
            self._tell(event)

    def proxy_gone(self, prefix: int) -> None:
        """A proxy is gone, with all clients whose ids begin with this: who they were, nodes know."""
        if self._close.wish:
            self._tell(Event(CLOSE, client=prefix << 32, since=self._reactor.now))

    def tick(self) -> None:
        """Now and then: again what could not be told."""
        again, self._again = self._again, deque()
        for event in again:
            self._send(event)

    def _tell(self, event: Event) -> None:
        if self._count >= MAX_WAITING:
            self._counters.limits_hit["once.max_waiting"] += 1
            self._given_up(event, "too much is not told yet")
            return
        self._count += 1
        self._send(event)

    def _send(self, event: Event) -> None:
        self._dispatch(self, event, self._open.pool if event.kind == OPEN else self._close.pool)

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if not more:
            self._done(event)
        return PART if more else ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        assert isinstance(event, Event)
        if error.reason in AGAIN and self._reactor.now < event.since + PATIENCE:
            if error.reason in (Reason.NODE_LOST, Reason.DEADLINE_EXCEEDED):
                event.before += 1  # somebody may have begun with it
            self._again.append(event)
            return 0
        if error.reason is not Reason.NODE_ERROR:  # that one its node has in its log
            self._given_up(event, str(error))
        self._done(event)
        return 0

    def _done(self, event: Call) -> None:
        self._count -= 1
        if event.kind == OPEN:
            gone = self._opening.pop(event.client, None)
            if gone is not None:
                self._tell(gone)

    def _given_up(self, event: Event, why: str) -> None:
        self._counters.once_given_up += 1
        if self._reactor.masses.admits("once_given_up", self._reactor.now):
            log.error("once_given_up", kind=event.kind, client=f"{event.client:016x}", why=why)
