"""The way of a request: from a connection to a node, and its reply back. One call at each arrow.

Joins the ledger, the policy and the links. Owns what happens when there is no node, when one is lost, when time is
up: every request that comes in here gets exactly one answer, a node's reply or a typed error.
"""

from collections.abc import Callable, Sequence, Sized
from math import inf

import structlog
import trio

from holdfast.balancer.calls import Call
from holdfast.balancer.directory import Directory, Node, NodeState, Pool, Random
from holdfast.balancer.ledger import Asked, Entry, Ledger, Requester
from holdfast.balancer.settings import RequestSettings
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import HttpRequest, Message, Request
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError, RequestError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import OWN_CODES
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.access_log import CLIENT_GONE, AccessLog
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.expired import Expired
from holdfast.proxy.nodes.routing_key import KeyOf
from holdfast.proxy.nodes.streamed import Streamed
from holdfast.proxy.nodes.troubles import Troubles

log = structlog.get_logger("holdfast.dispatch")

# Then clients get their turn: 64 MiB that are parked would take a quarter of a second.
UNPARKED_PER_TURN = 256
UNPARKED_BYTES_PER_TURN = 1 << 20


class Dispatch:
    """See the module. Called by connections (`request`), who else asks (`call`), the gateway and the ticker.

    in_order: is given replies that have effects, or follow such a one; they come back by `take` and `finish` when all
    is done that comes before them. late: requests of which a reply, or a part, is there. pool: of those for no other.
    """

    in_order: Callable[[Node, frames.Answer], None]

    def __init__(
        self,
        ledger: Ledger,
        directory: Directory,
        announcer: Announcer,
        pool: Pool,
        key_of: KeyOf | None,
        random: Random,
        reactor: Reactor,
        counters: Counters,
        settings: RequestSettings,
        access_log: AccessLog | None,
        reply_window: int,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self.pool = pool
        self._announcer = announcer
        self._untold = announcer.untold
        self._waiting = ledger.waiting
        self._key_of = key_of
        self._random = random
        self._reactor = reactor
        self._counters = counters
        self._settings = settings
        self._access_log = access_log
        self.late: dict[int, int] = {}  # how many of each
        self._troubles = Troubles(reactor, announcer.client_of)
        self._streamed = Streamed(ledger, reactor, reply_window, self._strike)
        self.expired = Expired(reactor, settings, directory, self._troubles, self._answer, self._strike)

    def attach(self, in_order: Callable[[Node, frames.Answer], None], is_behind: Callable[[Node], bool]) -> None:
        """Before anything comes. is_behind: whether a node has done things to clients that are not carried out yet."""
        self.in_order = in_order
        self.expired.is_behind = is_behind

    @property
    def unsaid(self) -> Sequence[Sized]:
        """What is still to be said of requests that have ended: replies that wait, and errors."""
        return self.late, self.expired

    # --- to a node --------------------------------------------------------------------------------------------

    def request(self, connection: Requester, event: Request, pool: Pool | None = None) -> None:
        """A client asks. pool: which nodes may take it; None: those that take all requests."""
        pool = pool or self.pool
        if pool.available and pool not in self._waiting:
            key = 0 if self._key_of is None else self._key_of(connection, event)
            node = pool.select(pool.available, key, self._random)
        else:
            node = None
        entry = self._ledger.open(connection, event, pool, node, self._reactor.now)
        if entry is None:
            self._too_many(connection, event, pool)
        elif node is None:
            self._park(entry, self._reactor.now)
        else:
            node.link.send(self._frame(entry, node, pool.milliseconds))

    def call(self, caller: Requester, call: Call, pool: Pool, timeout: float = inf) -> None:
        """Somebody asks who is no client. timeout: seconds that it waits, if those are less than the pool's."""
        now = self._reactor.now
        entry = self._ledger.open(caller, call, pool, None, now)
        if entry is None:
            self._too_many(caller, call, pool)
            return
        if timeout < pool.timeout:
            self._ledger.hasten(entry, timeout)
        self._send_or_park(entry, now)

    def _too_many(self, connection: Requester, event: Asked, pool: Pool) -> None:
        self._counters.limits_hit["request.max_in_flight"] += 1
        message = f"too many requests in flight{pool.route and f' by the route {pool.route}'}"
        connection.fail(event, RequestError(message, Reason.PARKING_FULL, self._settings.retry_after))

    def _send(self, entry: Entry, now: float) -> None:
        """To an available node; there must be one. Not if nobody waits for it any more, or its pool has its share."""
        if entry.connection.is_closed:
            self._ledger.drop(entry)
            self._answer(entry, RequestError("who asked has gone", Reason.CLIENT_LEFT))
            return
        key = 0 if self._key_of is None else self._key_of(entry.connection, entry.event)
        node = entry.pool.select(entry.pool.available, key, self._random)
        if node is None:
            self._park(entry, now)
            return
        self._ledger.assign(entry, node, now)
        if entry.is_offered:
            node.link.send(frames.Offer(entry.id, entry.attempt))
        else:
            self._hand_over(entry, node, now)

    def _hand_over(self, entry: Entry, node: Node, now: float) -> None:
        node.link.send(self._frame(entry, node, max(1, round((entry.deadline - now) * 1000))))

    def offered(self, node: Node, frame: frames.Offer) -> None:
        """A node lives, and takes the request with which another one was lost."""
        entry = self._ledger.find(frame.request, frame.attempt, node)
        if entry is None or not entry.is_offered:
            return
        if node.state is NodeState.READY:
            entry.is_offered = False
            self._hand_over(entry, node, self._reactor.now)
        else:  # it has begun to drain, and waits only for what it has
            self._ledger.withdraw(entry)
            self._send_or_park(entry, self._reactor.now)

    def _send_or_park(self, entry: Entry, now: float) -> None:
        """It has no node, or none any more: to one, now or later."""
        if entry.pool.available and entry.pool not in self._waiting:
            self._send(entry, now)
        else:
            self._park(entry, now)

    def _frame(self, entry: Entry, node: Node, timeout: int) -> frames.Request | frames.HttpRequest | frames.Call:
        """What the node is told. timeout: ms until nobody waits for the reply any more."""
        connection, event = entry.connection, entry.event
        if type(event) is Message:
            if node.wants_clients and not self._untold:  # nearly always: every instruction here is one per message
                return frames.Request(entry.id, connection.id, entry.attempt, timeout, event.payload, event.is_text)
            info = self._announcer.make_known(node, connection.id)
            return frames.Request(entry.id, connection.id, entry.attempt, timeout, event.payload, event.is_text, info)
        if isinstance(event, Call):
            self._announcer.make_known(node, event.client)  # who is told that it came can tell, should we be no more
            return event.frame(entry.id, entry.attempt, timeout)
        assert type(event) is HttpRequest
        path, _, query = event.target.partition("?")
        client = frames.Client(
            connection.id, "http", event.address, path, event.headers, query, event.user, b"", event.claims
        )
        return frames.HttpRequest(entry.id, client, entry.attempt, timeout, event.payload, event.method, event.target)

    def _park(self, entry: Entry, now: float) -> None:
        if self._ledger.park(entry, now):
            self._counters.requests_parked += 1
        else:
            by_count = self._ledger.parked_count >= self._settings.max_parked
            self._counters.limits_hit["request.max_parked" if by_count else "request.max_parked_bytes"] += 1
            message = f"{self._directory.missing(entry.pool)} is available, and too many wait"
            self._answer(entry, RequestError(message, Reason.PARKING_FULL, self._settings.retry_after))

    def unpark(self) -> None:
        """Send what is parked to whoever is available, and go on in the next turn. Called when a node becomes so."""
        ledger, now = self._ledger, self._reactor.now
        size = count = 0
        for pool in sorted(self._waiting, key=lambda pool: self._waiting[pool][0]):  # oldest first: they share nodes
            while pool.available and (entry := ledger.unpark(pool)) is not None:
                if entry.deadline <= now:  # the next sweep would have found it
                    ledger.drop(entry)
                    self.expired.add([(entry, Reason.NO_NODE)])
                else:
                    if entry.attempt:
                        self._counters.failover.observe(now - entry.since)
                    self._send(entry, now)
                size += len(entry.event.payload)
                count += 1
                if count >= UNPARKED_PER_TURN or size >= UNPARKED_BYTES_PER_TURN:
                    self._reactor.in_next_turn(self.unpark)
                    return

    # --- from a node ------------------------------------------------------------------------------------------

    def replied(self, node: Node, frame: frames.Reply | frames.HttpReply, entry: Entry | None = None) -> None:
        """A node replies, or sends a part of a reply. When nobody waits for it, it and its effects leave no trace.
        entry: what `take` gave; its effects are done."""
        more = frame.more
        if entry is None:  # the usual case, spelled out: as `take` would
            if frame.effects is not None or (self.late and frame.request in self.late):
                self.in_order(node, frame)
                return
            if more:
                entry = self._ledger.extend(frame.request, frame.attempt, node, self._reactor.now)
            else:
                entry = self._ledger.settle(frame.request, frame.attempt, node, self._reactor.now)
            if entry is None:
                self._counters.stale_replies += 1
                return
        if isinstance(frame, frames.Reply):
            head, is_text = None, frame.is_text
        else:
            head, is_text = ReplyHead(frame.status, frame.headers), False
        payload = frame.payload  # None: nothing is said, and the request is settled all the same
        # First: the request is settled, so no fault in what follows may cost its client the answer.
        try:
            taken = entry.connection.reply(entry.event, head, payload, is_text, more)
        except ProtocolError as error:
            if more:
                self._ledger.cancel([entry])
                node.link.send(frames.Cancel(entry.id, entry.attempt))
            self._bad_reply(node, entry, error)
            return
        if not more or not (more := self._streamed.said(node, entry, head, len(payload or b""), taken)):
            self._counters.replies += 1
            if head is not None and head.status >= 500 and entry.parts is None:
                self._strike(node, entry)
            elif node.health.failures and (entry.parts is None or entry.parts.status < 500):
                node.health.succeeded()
        if self._waiting:  # only now is the place of a part free after which nothing can be said
            self.unpark()
        if self._access_log is not None:
            status, size = 200 if head is None else head.status, len(payload or b"")
            self._access_log.replied(entry, status, size, self._reactor.now, more=more, taken=bool(taken))

    def failed(self, node: Node, frame: frames.Failure, *, in_order: bool = False) -> None:
        """A node's handler failed. in_order: what comes before that is done."""
        if not in_order and self.late and frame.request in self.late:
            self.in_order(node, frame)
            return
        entry = self._ledger.settle(frame.request, frame.attempt, node, self._reactor.now)
        if entry is None:
            self._counters.stale_replies += 1
            return
        if 400 <= frame.status <= 599 and (not frame.code or frame.code in OWN_CODES):
            self._fault(node, entry, RequestError(frame.message, Reason.NODE_ERROR, None, frame.status, frame.code))
        else:
            message = f"a failure's status is 400 to 599, its code 4000 to 4999, got {frame.status}, {frame.code}"
            self._bad_reply(node, entry, RequestError(message, Reason.BAD_REPLY))

    def _bad_reply(self, node: Node, entry: Entry, error: HoldfastError) -> None:
        """What the node says can't be said to the client."""
        self._troubles.bad_reply(entry, node, str(error))
        self._fault(node, entry, error)

    def _fault(self, node: Node, entry: Entry, error: HoldfastError) -> None:
        self._answer(entry, error)
        if self._waiting:
            self.unpark()
        if error.http_status >= 500:
            self._strike(node, entry)

    # --- replies with effects ---------------------------------------------------------------------------------

    def take(self, node: Node, frame: frames.Reply | frames.HttpReply) -> Entry | None:
        """All is done that comes before this reply: the request is its, and so its effects are done.

        None: nobody waits for it any more.
        """
        settle = self._ledger.extend if frame.more else self._ledger.settle
        entry = settle(frame.request, frame.attempt, node, self._reactor.now)
        if entry is None:
            self._counters.stale_replies += 1
        elif self._access_log is not None and not frame.more:
            self._access_log.taken(entry)
        return entry

    def finish(self, node: Node, frame: frames.Answer, entry: Entry | None) -> None:
        """Its effects are done: write it."""
        if isinstance(frame, frames.Failure):
            self.failed(node, frame, in_order=True)
        elif not frame.more or self._ledger.find(frame.request, frame.attempt, node) is entry:
            self.replied(node, frame, entry)

    def delay(self, node: Node, frame: frames.Answer) -> None:
        """It waits for what its node did before. A whole reply counts, though its node is lost meanwhile; a part does
        not if the rest can't come: then another node begins anew."""
        self.late[frame.request] = self.late.get(frame.request, 0) + 1
        entry = self._ledger.find(frame.request, frame.attempt, node)
        if entry is not None and (isinstance(frame, frames.Failure) or not frame.more):
            entry.is_replied = True

    def forget(self, frame: frames.Answer) -> None:
        """It waits no more."""
        self.late[frame.request] -= 1
        if not self.late[frame.request]:
            del self.late[frame.request]

    def refuse(self, node: Node, frame: frames.Answer) -> None:
        """There is no room for its effects."""
        entry = self._ledger.settle(frame.request, frame.attempt, node, self._reactor.now)
        if entry is None:
            self._counters.stale_replies += 1
        else:
            message = "too much that its node did before is not done yet"
            self._answer(entry, RequestError(message, Reason.PARKING_FULL, self._settings.retry_after))
            node.link.send(frames.Cancel(frame.request, frame.attempt))  # if more of it would follow

    # --- when things go wrong ---------------------------------------------------------------------------------

    def lose(self, node: Node) -> None:
        """A node is gone: its requests go elsewhere, oldest first, or are answered that they can't."""
        now = started = trio.current_time()
        unsent = {frame.id for frame in node.link.unsent() if isinstance(frame, frames.Asked)}
        for entry in self._ledger.lose(node):
            handed_over = not entry.is_offered and entry.id not in unsent
            if entry.connection.is_closed or not self._ledger.is_redeliverable(entry, handed_over=handed_over):
                self._ledger.drop(entry)
                self._lost(entry, node)
            else:
                if not handed_over:
                    entry.attempt -= 1  # that was none
                self._counters.redelivered += 1
                self._send_or_park(entry, now)
                if entry.node is not None:
                    self._counters.failover.observe(trio.current_time() - started)

    def _strike(self, node: Node, entry: Entry) -> None:
        """A request has failed by its node's fault. Once: one that began as a failure is none again by how it ends."""
        if entry.parts is not None and entry.parts.status >= 500:
            return
        if self._directory.failed(node, self._reactor.now):
            log.warning("node_ejected", node=node.id, until=round(node.health.returns_at - self._reactor.now, 1))

    def _lost(self, entry: Entry, node: Node) -> None:
        if entry.connection.is_closed:
            error = RequestError("who asked has gone", Reason.CLIENT_LEFT)
        elif self._ledger.max_attempts_reached(entry):
            self._troubles.quarantined(entry, node)
            message = f"{entry.attempt} nodes were lost while they had this request: it is given to no other one"
            error = RequestError(message, Reason.QUARANTINED)
        elif node.has_said_bye:  # it drained, and its time was up
            error = RequestError("its node has left, and it may go to no other one", Reason.DRAINING, 0.0)
        else:
            message = "the node was lost while it had this request, which may not be sent again"
            error = RequestError(message, Reason.NODE_LOST, 0.0)
        self._answer(entry, error, node)

    def expire(self, now: float) -> None:
        """Ticker: answer what is past its time."""
        self.expired.add(self._ledger.expire(now))

    def abandon(self) -> None:
        """Ticker: tell nodes that replies are no longer wanted, because those who asked have gone."""
        self._give_up(self._ledger.abandoned(), "who asked has gone", Reason.CLIENT_LEFT)
        if self._access_log is not None:
            self._access_log.abandoned()

    def overloaded(self, entries: list[Entry]) -> None:
        """They are more than can be held."""
        self._give_up(entries, "all clients together hold too much", Reason.OVERLOADED)

    def leave(self, why: str) -> None:
        """The proxy waits no longer: it is not their nodes' doing that what is open gets no reply."""
        self._directory.close()
        self.abandon()
        while len(self._ledger):  # the turn of what waits above `client.max_in_flight` comes with these answers
            entries = [entry for asked in self._ledger.by_connection().values() for entry in asked]
            self._give_up(entries, why, Reason.DRAINING)

    def _give_up(self, entries: list[Entry], why: str, reason: Reason) -> None:
        self._ledger.cancel(entries)
        error = RequestError(why, reason, self._settings.retry_after)
        for entry in entries:
            if entry.node is not None:
                entry.node.link.send(frames.Cancel(entry.id, entry.attempt))
            self._answer(entry, error)

    def _answer(self, entry: Entry, error: HoldfastError, lost_node: Node | None = None) -> None:
        """The end of each request that has no reply, whatever it ends by: the ledger no longer has it."""
        status = CLIENT_GONE if entry.connection.is_closed else error.http_status
        size = entry.connection.fail(entry.event, error)
        if self._access_log is not None:
            self._access_log.failed(entry, status, size, self._reactor.now, lost_node)
