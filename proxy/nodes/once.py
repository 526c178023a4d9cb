"""That a client has come and has gone, told to one node: at least once, and marked when it is told again.

Owns what is not told yet: the coming before the going, of each client, and again when no node could take it. It waits
here and not among what clients have asked, of whose room it has little. Nothing is kept of clients about whom nobody
wants to know. What is told is said to `on_told`, so that nodes know what is due if this proxy is no more: then another
one takes it over from them (proxy.nodes.orphans), and it is told here as well. Who was away may have here what others
have told since: that is withdrawn.
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
    """since: when it happened, and number: with which change of its proxy's clients it was due; a later one, if nobody
    knows. sent: how many times it was on its way to a node, or may have been at another proxy. fate: what became of it
    meanwhile: DUE, nothing; TOLD, by another proxy; LEFT to another proxy. It is in nobody's way then, and over as soon
    as no node has it."""

    since: float = 0.0
    number: int = 0
    sent: int = 0
    fate: int = 0

    def frame(self, id: int, attempt: int, timeout: int) -> frames.Call:
        self.sent += 1
        return Call.frame(self, id, attempt, timeout)


DUE, TOLD, LEFT = 0, 1, 2


class Telling(Caller):
    """What is told of one client. event: now; after: that it went, when it is told that it came."""

    def __init__(self, once: "Once", event: Event) -> None:
        self._once = once
        self.event = event
        self.after: Event | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        return (self.event,) if self.after is None else (self.event, self.after)

    @property
    def is_closed(self) -> bool:
        """Then it goes to no node any more."""
        if not self._once.is_ours(self.event.client >> 32):
            self._once.withdraw(self.event.client, 0, LEFT)
        return self.event.fate != DUE

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if not more:
            self._once.answered(self)
        return PART if more else ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        self._once.failed(self, error)
        return 0


class Once:
    """open, close: the nodes that want to be told. dispatch: where calls go.

    len(): how many are not told yet. on_told: called with a client and CAME or WENT when that is told, or never will
    be; 0: another proxy has it told. is_ours: whether we tell of the clients with this prefix, at this moment.
    doubted: up to this one of our clients others may have told that they went, while we were away; ids only grow.
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
        self.is_ours: Callable[[int], bool] = lambda prefix: True
        self.doubted = 0
        self._held_until = 0.0
        self._pools = {OPEN: open, CLOSE: close}
        self._waiting: dict[str, deque[Telling]] = {OPEN: deque(), CLOSE: deque()}  # the oldest first
        self._dispatch = dispatch
        self._reactor = reactor
        self._counters = counters
        self._tellings: dict[int, Telling] = {}  # by client
        self._counts = {OPEN: 0, CLOSE: 0}
        self._bytes = self._sent = 0

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __contains__(self, client: int) -> bool:
        return client in self._tellings

    @property
    def is_heard(self) -> bool:
        """Something is not told yet, and there are nodes for it."""
        return any(count and self._pools[kind].ready for kind, count in self._counts.items())

    @property
    def kinds(self) -> int:
        """Of what there are nodes that want to be told: CAME, WENT, both or 0."""
        return (CAME if self._pools[OPEN].ready else 0) | (WENT if self._pools[CLOSE].ready else 0)

    @property
    def wants_comings(self) -> bool:
        return self._pools[OPEN].is_wanted

    def is_due(self, client: int) -> bool:
        """Whether something is to be told when this one has gone."""
        return client in self._tellings or self._pools[CLOSE].is_wanted

    def opened(self, client: int, info: bytes, number: int, before: int = 0) -> None:
        """It has come, and somebody wants to know. info: the client, encoded. number: as of Event. before: above 0 if
        somebody may have been told already, by another proxy."""
        self._begin(
            Event(OPEN, b"", False, client, info, "", before, since=self._reactor.now, number=number, sent=before)
        )

    def closed(self, client: int, info: bytes, reason: str, number: int, before: int = 0) -> None:
        """It has gone, and something is due."""
        before = before or int(reason in ELSEWHERE or client <= self.doubted)
        told = CLOSE, reason.encode(), True, client, info, "", before
        event = Event(*told, since=self._reactor.now, number=number, sent=before)
        telling = self._tellings.get(client)
        if telling is None:
            self._begin(event)
        else:
            telling.after = event

    def inherit(self, gone: frames.Due, due: int, number: int) -> None:
        """One of a proxy that is no more has gone. due: what is told of it, as Closed.due: that one may have told it,
        and nobody knows."""
        info = bytes(frames.encode_frame(gone.client))
        if due & CAME:
            self.opened(gone.client.id, info, number, before=1)
        if due & WENT:
            self.closed(gone.client.id, info, gone.reason, number, before=1)

    # --- what others may have told --------------------------------------------------------------------------------

    def withdraw(self, client: int, due: int, fate: int = TOLD) -> None:
        """Of a client only that is to be told yet, as Closed.due. What a node has may stay with it."""
        telling = self._tellings.get(client)
        for event in () if telling is None else telling.events:
            if not due & (CAME if event.kind == OPEN else WENT):
                event.fate = event.fate or fate

    def doubt(self, prefix: int, told: int) -> None:
        """Of the clients with this prefix others may have told all, and what was due with that change they have."""
        for client, telling in self._tellings.items():
            if client >> 32 == prefix:
                for event in telling.events:
                    if event.number <= told:
                        event.fate = event.fate or TOLD
                    event.before = event.sent = max(event.sent, 1)

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: others are still amid telling, and we hear of it."""
        self._held_until = self._reactor.now + seconds

    # ----------------------------------------------------------------------------------------------------------------

    @property
    def _may_send(self) -> bool:
        return self._sent < MAX_SENT and self._reactor.now >= self._held_until

    def tick(self) -> None:
        """Now and then: what waits, while there are nodes for it."""
        for kind, waiting in self._waiting.items():
            pool = self._pools[kind]
            while waiting and (waiting[0].event.since + PATIENCE <= self._reactor.now or not pool.is_wanted):
                telling = waiting.popleft()
                if pool.is_wanted and not telling.is_closed:
                    self._given_up(telling.event, f"no node took it within {PATIENCE:g} s")
                self._done(telling)
            while waiting and pool.ready and self._may_send:
                telling = waiting.popleft()
                self._send(telling, pool)
                if waiting and waiting[0] is telling:  # there is no room for it
                    break

    def _begin(self, event: Event) -> None:
        telling = self._tellings[event.client] = Telling(self, event)
        self._tell(telling)

    def _tell(self, telling: Telling) -> None:
        event = telling.event
        self._counts[event.kind] += 1
        self._bytes += len(event.info)
        pool, waiting = self._pools[event.kind], self._waiting[event.kind]
        if not pool.is_wanted or telling.is_closed:
            self._done(telling)
        elif len(self) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self._counters.limits_hit["once.max_waiting"] += 1
            self._given_up(event, "too much is not told yet")
            self._done(telling)
        elif waiting or not pool.ready or not self._may_send:
            waiting.append(telling)
        else:
            self._send(telling, pool)

    def _send(self, telling: Telling, pool: Pool) -> None:
        if telling.is_closed:
            self._done(telling)
            return
        self._sent += 1
        self._dispatch(telling, telling.event, pool)

    def answered(self, telling: Telling) -> None:
        self._sent -= 1
        telling.event.fate = TOLD
        self._done(telling)

    def failed(self, telling: Telling, error: HoldfastError) -> None:
        event = telling.event
        self._sent -= 1
        if telling.is_closed:
            self._done(telling)
        elif error.reason in AGAIN and self._reactor.now < event.since + PATIENCE:
            event.before = event.sent  # somebody may have begun with it
            self._waiting[event.kind].appendleft(telling)
        else:
            if error.reason is not Reason.NODE_ERROR:  # that one its node has in its log
                self._given_up(event, str(error))
            self._done(telling)

    def _done(self, telling: Telling) -> None:
        event = telling.event
        self._counts[event.kind] -= 1
        self._bytes -= len(event.info)
        if telling.after is None:
            del self._tellings[event.client]
        what = CAME if event.kind == OPEN else WENT
        self.on_told(event.client, 0 if event.fate == LEFT else what)
        if telling.after is not None:
            telling.event, telling.after = telling.after, None
            self._tell(telling)

    def _given_up(self, event: Event, why: str) -> None:
        self._counters.once_given_up += 1
        if self._reactor.masses.admits("once_given_up", self._reactor.now):
            log.error("once_given_up", kind=event.kind, client=f"{event.client:016x}", why=why)
