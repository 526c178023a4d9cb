"""Every request that has no reply yet: in flight at a node, or parked because none was available.

Owns ids, attempts, deadlines and the bounds. Answers each question once: what `settle` and `expire` return, and what
`drop` and `cancel` were given, is no longer the ledger's, so no request can be replied to twice. Pure: time comes in.

One table has all, and its order is the timer: of opening, which is that of deadlines, since nearly all have the same
timeout. A sweep looks only at its front, when that has been there for this time. What is not late by then, because its
pool gives more time or its reply comes in parts, goes to the back: a deadline may move on without any cost. Whose
deadline comes before its next look is among the early ones besides.
"""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import Any, ClassVar, Protocol

from holdfast.balancer.calls import Call
from holdfast.balancer.directory import Directory, Node, Pool
from holdfast.balancer.early import Early
from holdfast.balancer.policies import Measured
from holdfast.balancer.settings import RequestSettings
from holdfast.balancer.taken import Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import Request
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError

Asked = Request | Call


class Named(Protocol):
    """A protocol, for logs."""

    name: ClassVar[str]


class Requester(Protocol):
    """Where a reply goes: the client's connection, proxy.clients.connection; or who calls, balancer.calls.

    event: what it has asked, a request or a Call. It is told the end of each, once, whatever it ends by, and though it
    is closed by then: by `fail`, or by `reply` with the last part, or with one after which it takes no more.
    """

    id: int

    @property
    def protocol(self) -> Named: ...

    @property
    def is_closed(self) -> bool: ...

    def reply(self, event: Any, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:  # noqa: ANN401
        """Raises ProtocolError if it can't be said in the client's protocol."""
        ...

    def fail(self, event: Any, error: HoldfastError) -> int:  # noqa: ANN401
        """Returns how many bytes that took."""
        ...

    def when_drained(self, callback: Callable[[], None]) -> None: ...


class Parts:
    """Of a reply that comes in parts. since: when the last one came, or the client took of it. untaken: bytes that the
    client has not taken: it is the client then who is waited for. owed: bytes that it has taken, and of which the node
    has not been told. size: bytes of those so far, if the access log counts them. status: what the reply began with; 0:
    it has not.
    """

    __slots__ = ("owed", "since", "size", "status", "untaken")

    def __init__(self) -> None:
        self.since = 0.0
        self.untaken = 0
        self.owed = 0
        self.size = 0
        self.status = 0


class Entry:
    """One request. pool: the nodes that may take it. node None: parked. attempt: 1 at the first node, one more at each
    further one.

    opened: when it came. since: when it was sent to its node, or parked. looked: when it went to the back of the table.
    is_offered: its node has only been asked whether it lives, because another one was lost with it, and has not
    answered. parts: some of the reply have reached the client, so no other node can begin anew. is_replied: the reply
    is here, and waits for what its node did before. Dispatch writes these two, and takes back an attempt that was none.
    """

    __slots__ = (
        "attempt", "connection", "deadline", "event", "id", "is_offered", "is_replied", "looked", "node", "opened",
        "parts", "pool", "since",
    )  # fmt: skip

    def __init__(self, id: int, connection: Requester, event: Asked, pool: Pool, node: Node | None, now: float) -> None:
        self.id = id
        self.connection = connection
        self.event = event
        self.pool = pool
        self.deadline = now + pool.timeout
        self.node = node
        self.attempt = 0 if node is None else 1
        self.looked = self.opened = self.since = now
        self.is_offered = False
        self.parts: Parts | None = None
        self.is_replied = False

    def __lt__(self, other: "Entry") -> bool:
        return self.id < other.id  # the order of opening: what parking keeps

    def is_late(self, now: float) -> bool:
        """Past its deadline, and it is not the client that takes its time."""
        return self.deadline <= now and (self.parts is None or not self.parts.untaken)


class Ledger:
    """The table of requests. `first_id` should be random per process, so that no late reply of a former run fits.

    waiting: the requests that are parked, by pool: a heap for each that has some; always the same object, so that
    callers may keep it.
    held_bytes: payloads of all requests: kept until the reply, because they may have to be sent again.
    measured: the policy's, told how long a node took to reply, or to begin to.
    Bounds: max_in_flight of each pool that has one of its own, and of all others together; max_parked and
    max_parked_bytes of all that is parked.
    """

    def __init__(
        self, directory: Directory, settings: RequestSettings, first_id: int, measured: Measured | None = None
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._pause = settings.pause
        self._next_id = self.first_id = first_id
        self._entries: dict[int, Entry] = {}
        self._apart = 0  # how many of them are of pools that are counted by themselves
        self.waiting: dict[Pool, list[Entry]] = {}  # in order of opening
        self._parked: dict[int, Entry] = {}  # in order of parking
        self.parked_bytes = 0
        self.held_bytes = 0
        self.measured = measured
        self._early = Early(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add_pool(self, pool: Pool, like: Pool | None = None) -> None:
        """Before its first request. like: one that was added, of the same nodes: they are counted for both at once."""
        settings = self._settings
        pool.is_apart = pool.share > 0 or pool.max_in_flight != settings.max_in_flight
        pool.unchecked = 0 if pool.is_apart or pool.timeout < settings.timeout else pool.max_in_flight
        if like is None:
            self._directory.add_pool(pool)
        else:
            pool.like, pool.available = like, like.available

    @property
    def parked_count(self) -> int:
        return len(self._parked)

    @property
    def in_flight(self) -> int:
        return len(self._entries) - len(self._parked)

    @property
    def last_id(self) -> int:
        """The id of the request that was opened last."""
        return self._next_id

    def has_before(self, id: int) -> bool:
        """Is any request of this id or an older one still open?

        For the end only: it looks at all, since they are not in order.
        """
        return any(each <= id for each in self._entries)

    def open(self, connection: Requester, event: Asked, pool: Pool, node: Node | None, now: float) -> Entry | None:
        """Begin a request, at this node; None: neither in flight nor parked until `assign` or `park`.

        Returns None when there are as many as may be.
        """
        if len(self._entries) >= pool.unchecked and not self._admits(pool, now):
            return None
        self._next_id = id = self._next_id + 1
        entry = self._entries[id] = Entry(id, connection, event, pool, node, now)
        self.held_bytes += len(event.payload)
        if node is not None:
            node.in_flight = in_flight = node.in_flight + 1
            if in_flight >= node.capacity:
                self._directory.refresh(node)
        return entry

    def _admits(self, pool: Pool, now: float) -> bool:
        """Is there room for the next request? Then it is counted, and looked at in time."""
        if pool.is_apart:
            if pool.in_flight >= pool.max_in_flight:
                return False
            pool.in_flight += 1
            self._apart += 1
        elif len(self._entries) - self._apart >= pool.max_in_flight:
            return False
        if pool.timeout < self._settings.timeout:
            self._early.add(now + pool.timeout, self._next_id + 1)
        return True

    def hasten(self, entry: Entry, timeout: float) -> None:
        """It waits for so many seconds from its opening, which is less than its pool's. Before any part of a reply."""
        entry.deadline = entry.opened + timeout
        self._early.add(entry.deadline, entry.id)

    def assign(self, entry: Entry, node: Node, now: float) -> None:
        """The request goes to this node now, as its next attempt; if another one was lost with it, it is offered."""
        entry.node = node
        entry.attempt += 1
        entry.since = now
        entry.is_offered = entry.attempt > 1 and node.takes_offers
        node.in_flight += 1
        if node.in_flight >= node.capacity:
            self._directory.refresh(node)

    def withdraw(self, entry: Entry) -> None:
        """The node is not to have what it was offered. `assign`, `park` or `drop` it."""
        assert entry.node is not None
        self._release(entry.node)
        entry.node = None
        entry.attempt -= 1

    def settle(self, id: int, attempt: int, node: Node, now: float) -> Entry | None:
        """The node replied. None: nobody waits for this from this node at this attempt, so it must leave no trace."""
        entry = self._entries.get(id)
        if entry is None or entry.node is not node or entry.attempt != attempt:
            return None
        del self._entries[id]
        self.held_bytes -= len(entry.event.payload)
        if self._apart and entry.pool.is_apart:
            self._apart -= 1
            entry.pool.in_flight -= 1
        node.answered_at = now
        if self.measured is not None and entry.parts is None:  # how long a stream lasts tells nothing of its node
            self.measured(node, now - entry.since)
        in_flight = node.in_flight
        node.in_flight = in_flight - 1
        if in_flight == node.capacity:
            self._directory.refresh(node)
        return entry

    def extend(self, id: int, attempt: int, node: Node, now: float) -> Entry | None:
        """The node sent a part of the reply: the request stays, with a new deadline. None as in `settle`."""
        entry = self.find(id, attempt, node)
        if entry is not None:
            if entry.parts is None:
                if self.measured is not None:
                    self.measured(node, now - entry.since)
                entry.parts = Parts()
            node.answered_at = now
            self.prolong(entry, entry.parts, now)
        return entry

    def find(self, id: int, attempt: int, node: Node) -> Entry | None:
        """The request, if it is with this node at this attempt."""
        entry = self._entries.get(id)
        return entry if entry is not None and entry.node is node and entry.attempt == attempt else None

    def prolong(self, entry: Entry, parts: Parts, now: float) -> None:
        """A streamed reply goes on."""
        parts.since = now
        entry.deadline = now + self._pause

    def park(self, entry: Entry, now: float) -> bool:
        """No node is available: keep the request in order. False when parking is full; then it is forgotten."""
        size = len(entry.event.payload)
        settings = self._settings
        if len(self._parked) >= settings.max_parked or self.parked_bytes + size > settings.max_parked_bytes:
            self.drop(entry)
            return False
        entry.since = now
        heappush(self.waiting.setdefault(entry.pool, []), entry)
        self._parked[entry.id] = entry
        self.parked_bytes += size
        return True

    def at_nodes(self, pool: Pool) -> int:
        """How many requests of a pool with a share have left parking: it is counted apart."""
        return pool.in_flight - len(self.waiting.get(pool, ()))

    def unpark(self, pool: Pool) -> Entry | None:
        """The oldest parked request of a pool, for a node that has become available there. None, too, while the pool
        has its share."""
        heap = self.waiting.get(pool)
        if heap is None or (pool.share and self.at_nodes(pool) >= pool.most):
            return None
        entry = heappop(heap)
        if not heap:
            del self.waiting[pool]
        del self._parked[entry.id]
        self.parked_bytes -= len(entry.event.payload)
        return entry

    def expire(self, now: float) -> list[tuple[Entry, Reason]]:
        """Take out what is past its deadline, or parked for too long. `entry.node` tells whom to send a cancel.

        Not if it is the client that takes its time. What is not late is looked at once in as long as the usual timeout
        is, so a sweep stays short.
        """
        settings, entries = self._settings, self._entries
        late: dict[int, Entry] = {}
        for id in self._early.due(now):
            early = entries.get(id)
            if early is not None and early.is_late(now):
                late[id] = early
        for entry in list(takewhile(lambda each: each.looked + settings.timeout <= now, entries.values())):
            if entry.is_late(now):
                late[entry.id] = entry
                continue
            del entries[entry.id]
            entries[entry.id] = entry
            entry.looked = now
            if now < entry.deadline < now + settings.timeout:
                self._early.add(entry.deadline, entry.id)
        before = now - settings.parked_timeout
        late.update(takewhile(lambda item: item[1].since <= before, self._parked.items()))
        self.cancel(late.values())
        return [(each, Reason.NO_NODE if each.node is None else Reason.DEADLINE_EXCEEDED) for each in late.values()]

    def lose(self, node: Node) -> list[Entry]:
        """The node is gone: its requests, oldest first. They stay in the table; `assign`, `park` or `drop` each.

        Not those whose reply is here: it counts, whatever has become of its node. From the newest back to the oldest
        that it has, so that a node which comes and goes costs what it was given, not the whole table each time.
        """
        lost: list[Entry] = []
        left = node.in_flight
        for entry in reversed(self._entries.values()) if left else ():
            if entry.node is node:
                if not entry.is_replied:
                    lost.append(entry)
                left -= 1
                if not left:
                    break
        lost.sort()  # some were put back
        for entry in lost:
            entry.node = None
        node.in_flight -= len(lost)
        return lost

    def drop(self, entry: Entry) -> None:
        """Forget a request that `lose` gave and that can't be sent again, or that can't be parked."""
        del self._entries[entry.id]
        self.held_bytes -= len(entry.event.payload)
        if entry.pool.is_apart:
            self._apart -= 1
            entry.pool.in_flight -= 1

    def abandoned(self) -> list[Entry]:
        """The requests whose connection is closed. One pass over all; call it when some are."""
        return [entry for entry in self._entries.values() if entry.connection.is_closed]

    def by_connection(self) -> dict[Requester, list[Entry]]:
        """All requests of each connection, those whose reply waits too: they are held as well. One pass over all."""
        asked: dict[Requester, list[Entry]] = {}
        for entry in self._entries.values():
            asked.setdefault(entry.connection, []).append(entry)
        return asked

    def pools_in_use(self) -> set[Pool]:
        """Those of which any request is open. One pass over all."""
        return {entry.pool for entry in self._entries.values()}

    def max_attempts_reached(self, entry: Entry) -> bool:
        return entry.attempt >= self._settings.max_attempts

    def is_redeliverable(self, entry: Entry, *, handed_over: bool) -> bool:
        """May this request of a lost node go to another one? handed_over False: that node has never had it."""
        if not handed_over:
            return True
        if entry.parts is not None or not entry.pool.redelivers or self.max_attempts_reached(entry):
            return False
        return entry.event.redeliverable

    def cancel(self, entries: Iterable[Entry]) -> None:
        """Forget requests, at a node or parked: their replies are no longer wanted."""
        unparked: set[Pool] = set()
        for entry in entries:
            self.drop(entry)
            if entry.node is not None:
                self._release(entry.node)
            else:
                unparked.add(entry.pool)
                del self._parked[entry.id]
                self.parked_bytes -= len(entry.event.payload)
        for pool in unparked:
            heap = self.waiting[pool]
            heap[:] = [entry for entry in heap if entry.id in self._entries]
            heapify(heap)
            if not heap:
                del self.waiting[pool]

    def _release(self, node: Node) -> None:
        node.in_flight -= 1
        if node.in_flight + 1 == node.capacity:
            self._directory.refresh(node)
