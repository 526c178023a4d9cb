"""The routes of the admin server: who may call them, and what they answer.

Everybody who reaches the port may ask for health and readiness. All else wants the token, if one is configured. If
none is, the port is bound to loopback, and a page in the operator's browser is the one stranger who could call. It is
kept out by what browsers always send: Host (DNS rebinding), Origin and Sec-Fetch-Site (other sites), Content-Type
(forms).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from holdfast.protocols.close import MAX_TEXT_BYTES
from holdfast.proxy.admin.http import CHALLENGE, JSON, HttpError, Request, Response, as_error, as_json, bears
from holdfast.proxy.config import is_loopback
from holdfast.proxy.views import (
    ChannelCount,
    ClientPage,
    Control,
    Drained,
    Kicked,
    NodeList,
    PluginStatus,
    RouteQuestion,
    format_client_id,
    parse_client_id,
)

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000


class Call(NamedTuple):
    """What a handler gets: what its pattern took from the path, and the rest as it came.

    Read is only what a handler asks for: a probe's query may be 16 KB of nothing, and strangers may send it.
    """

    parts: Mapping[str, str]
    raw_query: str
    raw_body: bytes

    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(self.raw_query))

    def body(self) -> Mapping[str, Any]:
        """The JSON object; {} if there is none. Raises HttpError if it is something else."""
        if not self.raw_body:
            return {}
        try:
            return msgspec.json.decode(self.raw_body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise HttpError(400, "expected a JSON object as body") from None


class Route(NamedTuple):
    """pattern: segments, of which {name} stands for any one."""

    method: str
    pattern: str
    handler: Callable[[Call], Response | Awaitable[Response]]
    needs_token: bool = True


class Api:
    """Answers requests. Makes no difference who calls it: it has no state but the table of routes."""

    def __init__(self, control: Control, token: str, bound_to_loopback: bool) -> None:
        self._control = control
        self._token = token
        self._bound_to_loopback = bound_to_loopback
        self.routes = (
            Route("GET", "/health", self._health, needs_token=False),
            Route("GET", "/ready", self._ready, needs_token=False),
            Route("GET", "/metrics", self._metrics),
            Route("GET", "/api/status", self._status),
            Route("GET", "/api/nodes", self._nodes),
            Route("GET", "/api/clients", self._clients),
            Route("POST", "/api/nodes/{id}/drain", self._drain),
            Route("POST", "/api/clients/{id}/kick", self._kick),
            Route("GET", "/api/channels/{channel}", self._channel),
            Route("POST", "/api/route", self._route),
            # as in Kuzzle's cluster plugin; proxy.admin.operator has them on the ports of clients
            Route("GET", "/_plugin/cluster/health", self._cluster_health, needs_token=False),
            Route("GET", "/_plugin/cluster/status", self._cluster_status),
            Route("POST", "/_plugin/cluster/reset", self._cluster_reset),
        )

    async def answer(self, request: Request) -> Response:
        """The response to a request. HEAD is answered as GET: the server leaves the body out."""
        try:
            self._check_host(request)
            target = urlsplit(request.target)
            route, parts = self._find(request.method, target.path)
            authorized = self._check_token(request, route)
            if route.method == "POST" and not authorized:
                _check_not_a_page(request)
            response = route.handler(Call(parts, target.query, request.body))
            return response if isinstance(response, Response) else await response
        except HttpError as error:
            return as_error(error)
        except ValueError:  # of urlsplit, for a target that is no URL
            return as_error(HttpError(400, "the target of the request is not a URL"))

    # --- who may call

    def _check_host(self, request: Request) -> None:
        """A foreign name that resolves to loopback is a page's way around the same-origin policy."""
        host = request.headers.get("host")
        if self._bound_to_loopback and host is not None and not is_loopback(_without_port(host)):
            raise HttpError(
                403,
                "the admin server is bound to loopback: Host must be localhost or a loopback address, "
                "or admin.bind another one, with admin.token",
            )

    def _check_token(self, request: Request, route: Route) -> bool:
        """Whether the caller has proven itself; no token configured, nothing proven."""
        if not self._token or not route.needs_token:
            return False
        if not bears(request.headers.get("authorization", ""), self._token):
            raise HttpError(401, "expected the header Authorization: Bearer TOKEN with admin.token", CHALLENGE)
        return True

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        segments = path.split("/")
        allowed = []
        for route in self.routes:
            parts = _match(route.pattern.split("/"), segments)
            if parts is None:
                continue
            if route.method == method or (route.method, method) == ("GET", "HEAD"):
                return route, parts
            allowed.append("GET, HEAD" if route.method == "GET" else route.method)
        if not allowed:
            raise HttpError(404, "no such path")
        raise HttpError(405, f"this path takes {', '.join(allowed)}", ("Allow", ", ".join(allowed)))

    # --- what they answer

    def _health(self, call: Call) -> Response:
        return as_json({"status": "ok"})

    def _ready(self, call: Call) -> Response:
        ready, reason = self._control.ready()
        return as_json({"ready": ready, "reason": reason}, 200 if ready else 503)

    def _metrics(self, call: Call) -> Response:
        return Response(200, self._control.metrics(), CONTENT_TYPE_LATEST)

    def _status(self, call: Call) -> Response:
        return as_json(self._control.status())

    def _nodes(self, call: Call) -> Response:
        return as_json(NodeList(self._control.nodes()))

    def _clients(self, call: Call) -> Response:
        query = call.query()
        limit = _page(query.get("limit", str(DEFAULT_PAGE)))
        after = query.get("after")
        # one more than asked for, to see whether there is another page
        clients = self._control.clients(limit + 1, None if after is None else _client_id(after))
        page = clients[:limit]
        cluster = self._control.cluster()
        return as_json(
            ClientPage(
                proxy=cluster.here,
                elsewhere=sum(proxy.clients for proxy in cluster.members if proxy.id != cluster.here),
                clients=page,
                next=page[-1].id if len(clients) > len(page) else None,
            )
        )

    async def _drain(self, call: Call) -> Response:
        node = call.parts["id"]
        is_drained = await self._control.drain_node(node)
        if is_drained is None:
            raise HttpError(503, "it gets no new requests here, but does not say that it knows: try again")
        if not is_drained:
            raise HttpError(404, "no such node")
        return as_json(Drained(node, "draining"), 202)

    async def _kick(self, call: Call) -> Response:
        client = _client_id(call.parts["id"])
        reason = call.body().get("reason", "")
        if not isinstance(reason, str) or len(reason.encode()) > MAX_TEXT_BYTES:
            raise HttpError(400, f"reason: expected text of at most {MAX_TEXT_BYTES} bytes")
        is_kicked = await self._control.kick(client, reason)
        if is_kicked is None:
            raise HttpError(503, "the proxy that has this client does not answer")
        if not is_kicked:
            raise HttpError(404, "no such client")
        return as_json(Kicked(format_client_id(client), True))

    async def _channel(self, call: Call) -> Response:
        channel = call.parts["channel"]
        counts = await self._control.count(channel)
        if counts is None:
            raise HttpError(503, "too many ask for the counts of channels: try again in a moment")
        return as_json(ChannelCount(channel, sum(counts.values()), counts))

    def _route(self, call: Call) -> Response:
        try:
            return as_json(self._control.route(msgspec.convert(call.body(), RouteQuestion)))
        except ValueError as error:  # of which msgspec's are
            raise HttpError(400, str(error)) from None

    def _cluster_health(self, call: Call) -> Response:
        ready, _ = self._control.ready()
        return as_json("ok" if ready else "ko", 200 if ready else 503)

    def _cluster_status(self, call: Call) -> Response:
        return as_json(PluginStatus.of(self._control.cluster()))

    def _cluster_reset(self, call: Call) -> Response:
        if not self._control.reset():
            raise HttpError(409, "this proxy is alone: store.kind is memory")
        return as_json("ok")


def _page(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_PAGE)) and 1 <= int(text) <= LARGEST_PAGE:
        return int(text)
    raise HttpError(400, f"limit: expected a number from 1 to {LARGEST_PAGE}")


def _client_id(text: str) -> int:
    try:
        return parse_client_id(text)
    except ValueError as error:
        raise HttpError(400, str(error)) from None


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    parts = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            parts[expected[1:-1]] = unquote(segment)
        elif expected != segment:
            return None
    return parts


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0].lower()


def _check_not_a_page(request: Request) -> None:
    """Refuse what another site's page sends: its request may not be readable for it, but would be carried out."""
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    own = f"http://{request.headers.get('host', '')}"
    if site not in ("none", "same-origin") or (origin is not None and origin != own):
        raise HttpError(403, "refused: the request comes from a page of another site")
    content_type = request.headers.get("content-type")
    if content_type is not None and content_type.partition(";")[0].strip().lower() != JSON:
        raise HttpError(415, f"expected Content-Type: {JSON}, or none and no body")
    if content_type is None and request.body:
        raise HttpError(415, f"expected Content-Type: {JSON} for a body")
