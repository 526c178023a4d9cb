"""That a client has come and has gone, told to one node: at least once, and marked when it is told again.

Owns what is not told yet: the coming before the going, of each client, and again when no node could take it. It waits
here and not among what clients have asked, of whose room it has little. Nothing is kept of clients about whom nobody
wants to know. What is told is said to `on_told`, so that nodes know what is due if this proxy is no more: then another
one takes it over from them (proxy.nodes.orphans), and it is told here as well.
"""

from collections import deque
from collections.abc import Callable

import structlog

from holdfast.balancer.calls import Call, Caller
from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Requester
from holdfast.balancer.taken import ALL, PART, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.calls import CLOSE, OPEN
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.once")

MAX_WAITING = 100_000  # of what is not told yet; what comes on top is told to nobody
MAX_WAITING_BYTES = 64 << 20  # of the clients in it, likewise; as much as requests that are parked
MAX_SENT = 1_000  # of these at a time, with nodes or parked: a fiftieth of what may be
AGAIN = frozenset(
    {
        Reason.NO_NODE,
        Reason.PARKING_FULL,
        Reason.OVERLOADED,
        Reason.NODE_LOST,
        Reason.DEADLINE_EXCEEDED,
        Reason.DRAINING,  # ours; there is time for a last word
    }
)
# A proxy that was cut off or frozen closes its clients so: meanwhile another may have told that they went.
ELSEWHERE = frozenset({Reason.FENCED.value, Reason.INTERRUPTED.value})
PATIENCE = 300.0  # seconds for which something is told again and again


class Event(Call, gc=False):
    """since: when it happened. sent: how many times it was on its way to a node, or may have been at another proxy.
    is_inherited: somebody wanted to know of it there, who may not have come here yet."""

    since: float = 0.0
    sent: int = 0
    is_inherited: bool = False

    def frame(self, id: int, attempt: int, timeout: int) -> frames.Call:
        self.sent += 1
        return Call.frame(self, id, attempt, timeout)


class Once(Caller):
    """open, close: the nodes that want to be told. dispatch: where calls go.

    len(): how many are not told yet. on_told: called with a client and CAME or WENT when that is told, or never will
    be.
    """

    def __init__(
        self,
        open: Pool,
        close: Pool,
        dispatch: Callable[[Requester, Call, Pool], None],
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self.on_told: Callable[[int, int], None] = lambda client, what: None
        self._pools = {OPEN: open, CLOSE: close}
        self._waiting: dict[str, deque[Event]] = {OPEN: deque(), CLOSE: deque()}  # the oldest first
        self._dispatch = dispatch
        self._reactor = reactor
        self._counters = counters
        self._opening: dict[int, Event | None] = {}  # clients that are being told as come, and that they have gone
        self._count = self._bytes = self._sent = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_heard(self) -> bool:
        """Something is not told yet, and there are nodes for it."""
        return self._count > 0 and any(pool.ready for pool in self._pools.values())

    @property
    def has_listeners(self) -> bool:
        """There are nodes that want to be told."""
        return any(pool.ready for pool in self._pools.values())

    @property
    def wants_comings(self) -> bool:
        return self._pools[OPEN].is_wanted

    def is_due(self, client: int) -> bool:
        """Whether something is to be told when this one has gone."""
        return client in self._opening or self._pools[CLOSE].is_wanted

    def opened(self, client: int, info: bytes, before: int = 0) -> None:
        """It has come, and somebody wants to know. info: the client, encoded. before: above 0 if somebody may have been
        told already, at a proxy that is no more."""
        self._opening[client] = None
        now = self._reactor.now
        self._tell(Event(OPEN, b"", False, client, info, "", before, now, before, before > 0))

    def closed(self, client: int, info: bytes, reason: str, before: int = 0) -> None:
        """It has gone, and something is due."""
        sent = before or int(reason in ELSEWHERE)
        event = Event(CLOSE, reason.encode(), True, client, info, "", sent, self._reactor.now, sent, before > 0)
        if client in self._opening:
            self._opening[client] = event
        else:
            self._tell(event)

    def inherit(self, client: int, info: bytes, reason: str, *, came: bool) -> None:
        """One of a proxy that is no more has gone, and before that come: it may have told that, and nobody knows."""
        if came:
            self.opened(client, info, before=1)
        self.closed(client, info, reason, before=1)

    def tick(self) -> None:
        """Now and then: what waits, while there are nodes for it."""
        for kind, waiting in self._waiting.items():
            pool = self._pools[kind]
            while waiting and (waiting[0].since + PATIENCE <= self._reactor.now or not self._may_be_wanted(waiting[0])):
                event = waiting.popleft()
                if pool.is_wanted:
                    self._given_up(event, f"no node took it within {PATIENCE:g} s")
                self._done(event)
            while waiting and pool.ready and self._sent < MAX_SENT:
                event = waiting.popleft()
                self._send(event, pool)
                if waiting and waiting[0] is event:  # there is no room for it
                    break

    def _tell(self, event: Event) -> None:
        self._count += 1
        self._bytes += len(event.info)
        pool, waiting = self._pools[event.kind], self._waiting[event.kind]
        if not self._may_be_wanted(event):
            self._done(event)
        elif self._count > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self._counters.limits_hit["once.max_waiting"] += 1
            self._given_up(event, "too much is not told yet")
            self._done(event)
        elif waiting or not pool.ready or self._sent >= MAX_SENT:
            waiting.append(event)
        else:
            self._send(event, pool)

    def _may_be_wanted(self, event: Event) -> bool:
        return event.is_inherited or self._pools[event.kind].is_wanted

    def _send(self, event: Event, pool: Pool) -> None:
        self._sent += 1
        self._dispatch(self, event, pool)

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if not more:
            self._sent -= 1
            self._done(event)
        return PART if more else ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        assert isinstance(event, Event)
        self._sent -= 1
        if error.reason in AGAIN and self._reactor.now < event.since + PATIENCE:
            event.before = event.sent  # somebody may have begun with it
            self._waiting[event.kind].appendleft(event)
            return 0
        if error.reason is not Reason.NODE_ERROR:  # that one its node has in its log
            self._given_up(event, str(error))
        self._done(event)
        return 0

    def _done(self, event: Call) -> None:
        self._count -= 1
        self._bytes -= len(event.info)
        if event.kind == OPEN:
            gone = self._opening.pop(event.client, None)
            self.on_told(event.client, CAME)
            if gone is not None:
                self._tell(gone)
        else:
            self.on_told(event.client, WENT)

    def _given_up(self, event: Event, why: str) -> None:
        self._counters.once_given_up += 1
        if self._reactor.masses.admits("once_given_up", self._reactor.now):
            log.error("once_given_up", kind=event.kind, client=f"{event.client:016x}", why=why)
