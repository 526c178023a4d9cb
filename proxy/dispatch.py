"""The way of a request: from a connection to a node, and its reply back. One call at each arrow.

Joins the ledger, the policy and the links. Owns what happens when there is no node, when one is lost, when time is
up: every request that comes in here gets exactly one answer, a node's reply or a typed error.
"""

from collections.abc import Callable

import structlog
import trio

from balancer.directory import Directory, Node
from balancer.ledger import Entry, Ledger, Requester
from balancer.policies import Policy, Random
from balancer.settings import RequestSettings
from protocols.clients.base import ReplyHead
from protocols.clients.events import HttpRequest, Message, Request
from protocols.close import Reason
from protocols.errors import RequestError
from protocols.nodes import frames
from proxy.access_log import AccessLog
from proxy.metrics import Counters
from proxy.reactor import Reactor
from proxy.routing_key import KeyOf

log = structlog.get_logger("holdfast.dispatch")


class Dispatch:
    """See the module. Called by connections (`request`), the gateway (`replied`, `failed`, `lose`) and the ticker.

    carry_out: what a reply's effects are given to; the gateway sets it.
    """

    carry_out: Callable[[Node, frames.Effect], None]

    def __init__(
        self,
        ledger: Ledger,
        directory: Directory,
        policy: Policy,
        key_of: KeyOf,
        random: Random,
        reactor: Reactor,
        counters: Counters,
        settings: RequestSettings,
        access_log: AccessLog | None,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._available = directory.available
        self._parked = ledger.parked
        self._select = policy.select
        self._key_of = key_of if policy.needs_key else None
        self._random = random
        self._reactor = reactor
        self._counters = counters
        self._settings = settings
        self._timeout = int(settings.timeout * 1000)
        self._access_log = access_log
        self.last_failover: float | None = None

    # --- to a node --------------------------------------------------------------------------------------------

    def request(self, connection: Requester, event: Request) -> None:
        """A client asks."""
        now = self._reactor.now
        self._counters.requests += 1
        node = self._choose(connection, event) if self._available and not self._parked else None
        entry = self._ledger.open(connection, event, node, now)
        if entry is None:
            self._counters.limits_hit["request.max_in_flight"] += 1
            self._fail(connection, event, "too many requests in flight", Reason.PARKING_FULL)
        elif node is None:
            self._park(entry, now)
        else:
            node.link.send(_frame(entry, self._timeout))

    def _choose(self, connection: Requester, event: Request) -> Node:
        """An available node; there must be one."""
        key = 0 if self._key_of is None else self._key_of(connection, event)
        return self._select(self._available, key, self._random)

    def _send_again(self, entry: Entry, now: float) -> None:
        """To an available node; there must be one."""
        node = self._choose(entry.connection, entry.event)
        self._ledger.assign(entry, node, now)
        node.link.send(_frame(entry, int((entry.deadline - now) * 1000)))

    def _park(self, entry: Entry, now: float) -> None:
        if self._ledger.park(entry, now):
            self._counters.requests_parked += 1
        else:
            by_count = len(self._parked) >= self._settings.max_parked
            self._counters.limits_hit["request.max_parked" if by_count else "request.max_parked_bytes"] += 1
            self._fail(entry.connection, entry.event, "no node is available, and too many wait", Reason.PARKING_FULL)

    def unpark(self) -> None:
        """Send what is parked to whoever is available. Called when a node becomes so."""
        ledger = self._ledger
        while self._available:
            entry = ledger.unpark()
            if entry is None:
                return
            now = self._reactor.now
            if entry.attempt:
                self._failed_over(now - entry.parked_at)
            self._send_again(entry, now)

    # --- from a node ------------------------------------------------------------------------------------------

    def replied(self, node: Node, frame: frames.Reply | frames.HttpReply) -> None:
        """A node replies, or sends a part of a reply. When nobody waits for it, it and its effects leave no trace."""
        ledger = self._ledger
        more = frame.more
        now = self._reactor.now
        if more:
            entry = ledger.extend(frame.request, frame.attempt, node, now)
        else:
            entry = ledger.settle(frame.request, frame.attempt, node, now)
        if entry is None:
            self._counters.stale_replies += 1
            return
        self._counters.replies += 1
        if frame.effects:
            for effect in frame.effects:
                self.carry_out(node, effect)
        if self._parked:
            self.unpark()
        if isinstance(frame, frames.Reply):
            head = None
            is_text = frame.is_text
        else:
            head = ReplyHead(frame.status, frame.headers)
            is_text = False
        if head is not None and head.status >= 500:
            self._strike(node)
        elif node.health.failures:
            node.health.succeeded()
        taken = entry.connection.reply(entry.event, head, frame.payload, is_text, more)
        if more and not taken:
            ledger.cancel(entry)
            node.link.send(frames.Cancel(entry.id, entry.attempt))
        if self._access_log is not None and not more:
            status = 200 if head is None else head.status
            self._access_log.replied(entry, status, len(frame.payload), self._reactor.now)

    def failed(self, node: Node, frame: frames.Failure) -> None:
        """A node's handler failed."""
        entry = self._ledger.settle(frame.request, frame.attempt, node, self._reactor.now)
        if entry is None:
            self._counters.stale_replies += 1
            return
        if self._parked:
            self.unpark()
        if frame.status >= 500:
            self._strike(node)
        self._answer(entry, RequestError(frame.message, Reason.NODE_ERROR, status=frame.status))

    # --- when things go wrong ---------------------------------------------------------------------------------

    def lose(self, node: Node) -> None:
        """A node is gone: its requests go elsewhere, oldest first, or are answered that they can't."""
        now = started = trio.current_time()
        ledger = self._ledger
        unsent = {frame.id for frame in node.link.unsent() if isinstance(frame, frames.Request | frames.HttpRequest)}
        for entry in ledger.lose(node):
            if entry.connection.is_closed:
                ledger.drop(entry)
            elif not ledger.is_redeliverable(entry, handed_over=entry.id not in unsent):
                ledger.drop(entry)
                self._lost(entry)
            else:
                if entry.id in unsent:
                    entry.attempt -= 1  # nobody has seen that attempt
                self._counters.redelivered += 1
                if self._available and not self._parked:
                    self._send_again(entry, now)
                    self._failed_over(trio.current_time() - started)
                else:
                    self._park(entry, now)

    def _failed_over(self, seconds: float) -> None:
        """A lost node's request is at another node, so long after the loss was noticed."""
        self.last_failover = seconds
        self._counters.failover.observe(seconds)

    def _strike(self, node: Node) -> None:
        if self._directory.failed(node, self._reactor.now):
            log.warning("node_ejected", node=node.id, until=round(node.health.returns_at - self._reactor.now, 1))

    def _lost(self, entry: Entry) -> None:
        if entry.partial:
            # The client has a part of a reply. It may not be told an error in its place: HTTP has no way, and a
            # message protocol's client takes what came for a reply. So an exchange of bytes ends with its connection.
            connection = entry.connection
            if not connection.is_session:
                self._counters.request_errors[Reason.NODE_LOST] += 1
                connection.abort(Reason.NODE_LOST)
                return
        self._answer(
            entry,
            RequestError(
                "the node was lost while it had this request, which may not be sent again", Reason.NODE_LOST, 0.0
            ),
        )

    def expire(self, now: float) -> None:
        """Ticker: answer what is past its time."""
        for entry, reason in self._ledger.expire(now):
            node = entry.node
            if node is not None:
                node.link.send(frames.Cancel(entry.id, entry.attempt))
                self._strike(node)
                message = f"no reply within {self._settings.timeout:g} s"
                error = RequestError(message, reason, None)
            else:
                waited = min(self._settings.parked_timeout, self._settings.timeout)
                error = RequestError(f"no node was available for {waited:g} s", reason, self._settings.retry_after)
            self._answer(entry, error)

    def abandon(self) -> None:
        """Ticker: tell nodes that replies are no longer wanted, because the clients have gone."""
        for entry in self._ledger.abandon():
            if entry.node is not None:
                entry.node.link.send(frames.Cancel(entry.id, entry.attempt))

    def _answer(self, entry: Entry, error: RequestError) -> None:
        entry.connection.fail(entry.event, error)
        if self._access_log is not None:
            self._access_log.replied(entry, error.http_status, 0, self._reactor.now)

    def _fail(self, connection: Requester, event: Request, message: str, reason: Reason) -> None:
        connection.fail(event, RequestError(message, reason, self._settings.retry_after))


def _frame(entry: Entry, timeout: int) -> frames.Request | frames.HttpRequest:
    """What the node is told. timeout: ms until nobody waits for the reply any more."""
    connection = entry.connection
    event = entry.event
    if type(event) is Message:
        return frames.Request(entry.id, connection.id, entry.attempt, timeout, event.payload, event.is_text)
    assert type(event) is HttpRequest
    address = event.address or connection.address
    client = frames.Client(connection.id, "http", address, event.target.partition("?")[0], event.headers)
    return frames.HttpRequest(entry.id, client, entry.attempt, timeout, event.payload, event.method, event.target)
