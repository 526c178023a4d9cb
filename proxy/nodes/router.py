"""Where a client's request goes by the routes of the configuration: to a route's nodes, or to a fixed answer.

Stands before the dispatch of a proxy that has routes, and lets through what none of them takes. Which one does is
balancer.routes's. Owns what a fixed answer is in each protocol: over HTTP status, headers and body; to a message the
body, or, of a status from 400 on, a typed error with it as its text. A client's plan is made with its first message.
"""

from collections.abc import Callable, Sequence

from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Entry, Requester
from holdfast.balancer.route import Handshake, Headers, Rule, host_of, path_of
from holdfast.balancer.routes import Plan, Routes
from holdfast.balancer.settings import RouteSettings
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import HttpRequest, Message, Request
from holdfast.protocols.clients.upgrade import choose_subprotocol
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError, RequestError
from holdfast.protocols.nodes.frames import Client
from holdfast.proxy.clients.session import Session
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.access_log import AccessLog

TARGET = "{target}"  # in a redirect: path and query of the request
REASONS = {401: Reason.UNAUTHORIZED, 403: Reason.UNAUTHORIZED, 429: Reason.RATE_LIMITED, 503: Reason.NO_NODE}


class Answer:
    """The fixed one of a route."""

    def __init__(self, route: RouteSettings) -> None:
        self._status = route.status
        self._body = route.body.encode()
        self._redirect = route.redirect
        self._headers = list(route.headers.items())
        if route.body and not any(name.lower() == "content-type" for name, _ in self._headers):
            self._headers.append(("Content-Type", "text/plain; charset=utf-8"))
        self._pool = Pool("", lambda node: False, lambda nodes, key, random: nodes[0], 0.0, 0, False, "")
        self._pool.route = route.name

    def say(self, connection: Requester, event: Request) -> int:
        """Answer a request. Returns the status."""
        if type(event) is HttpRequest:
            headers = self._headers
            if self._redirect:
                target = event.target if event.target.startswith("/") else "/"
                headers = [*headers, ("Location", self._redirect.replace(TARGET, target))]
            connection.reply(event, ReplyHead(self._status, headers), self._body, True, False)
        elif self._status < 400:
            connection.reply(event, None, self._body, True, False)
        else:
            reason = REASONS.get(self._status, Reason.BAD_REQUEST if self._status < 500 else Reason.NOT_IMPLEMENTED)
            text = self._body.decode() or f"the route {self._pool.route} refuses this"
            connection.fail(event, RequestError(text, reason, status=self._status))
        return self._status

    def entry(self, connection: Requester, event: Request, now: float) -> Entry:
        """For the log."""
        return Entry(0, connection, event, self._pool, None, now)


class Router:
    """rules: all routes, in order. subprotocols: client.subprotocols."""

    def __init__(
        self,
        settings: Sequence[RouteSettings],
        pools: Sequence[Pool | None],
        dispatch: Callable[[Requester, Request, Pool | None], None],
        session_of: Callable[[int], Session | None],
        client_of: Callable[[int], Client | None],
        counters: Counters,
        access_log: AccessLog | None,
        subprotocols: tuple[str, ...],
    ) -> None:
        self.routes = Routes(settings, pools)
        self._dispatch = dispatch
        self._session_of = session_of
        self._client_of = client_of
        self._counted = counters.route_requests
        self._counted.update(dict.fromkeys((route.name for route in settings), 0))
        self._access_log = access_log
        self._subprotocols = subprotocols
        self._answers = {rule: Answer(rule.settings) for rule in self.routes.rules if rule.pool is None}

    def request(self, connection: Requester, event: Request) -> None:
        """A client asks."""
        if type(event) is Message:
            session = self._session_of(connection.id)
            plan = (session and session.plan) or self._plan(connection, session)
            rule = plan.take(event.payload)
        else:
            assert type(event) is HttpRequest
            rule = self.routes.of_request(event.method, event.target, event.headers, connection.id)
        if rule is None:
            self._dispatch(connection, event, None)
            return
        self._counted[rule.name] += 1
        if rule.pool is not None:
            self._dispatch(connection, event, rule.pool)
        else:
            self._answer(rule, connection, event)

    def _plan(self, connection: Requester, session: Session | None) -> Plan:
        client = self._client_of(connection.id)
        if client is None:  # an adapter that opens no session
            return self.routes.plan(Handshake(connection.protocol.name, "", "", ()), connection.id)
        plan = self.routes.plan(self.handshake(client), client.id)
        if session is not None:
            session.plan = plan
        return plan

    def handshake(self, client: Client) -> Handshake:
        """What its messages have in common."""
        headers = client.headers
        return Handshake(
            client.protocol, host_of(headers), path_of(client.path), headers, agreed(headers, self._subprotocols)
        )

    def _answer(self, rule: Rule, connection: Requester, event: Request) -> None:
        answer = self._answers[rule]
        status = answer.say(connection, event)
        if self._access_log is not None:
            entry = answer.entry(connection, event, 0.0)
            self._access_log.failed(entry, status, len(rule.settings.body.encode()), 0.0)


def agreed(headers: Headers, preferred: tuple[str, ...]) -> str:
    """The subprotocol that its handshake has agreed on; "": none."""
    offered = ",".join(value for name, value in headers if name == "sec-websocket-protocol")
    try:
        return choose_subprotocol(offered, preferred) or ""
    except ProtocolError:  # of a protocol that is not ours
        return ""
