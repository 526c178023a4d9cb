"""The routes of the admin server: who may call them, and what they answer.

Everybody who reaches the port may ask for health and readiness. All else wants the token, if one is configured. If
none is, the port is bound to loopback, and a page in the operator's browser is the one stranger who could call. It is
kept out by what browsers always send: Host (DNS rebinding), Origin and Sec-Fetch-Site (other sites), Content-Type
(forms).
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import trio
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from holdfast.protocols.errors import HoldfastError, RequestError
from holdfast.protocols.nodes.effects import CloseClient, Effect, Join, Leave
from holdfast.proxy.admin.access import Access
from holdfast.proxy.admin.bodies import Close, Kick, Publication, check_reason, effects_of
from holdfast.proxy.admin.http import JSON, HttpError, Request, Response, as_error, as_json
from holdfast.proxy.admin.idempotency import Idempotency
from holdfast.proxy.admin.openapi import description
from holdfast.proxy.admin.routes import ROUTES, SMALL_BODY, Route
from holdfast.proxy.config import is_loopback, split_address
from holdfast.proxy.config.sections import AdminSettings
from holdfast.proxy.views import (
    ChannelCount,
    ChannelQuestion,
    ClientPage,
    Closed,
    Control,
    Drained,
    Health,
    Kicked,
    Membership,
    NodeList,
    PluginStatus,
    Published,
    Readiness,
    RouteQuestion,
    format_client_id,
    parse_client_id,
)

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
MAX_PUBLISHING = 32  # half of the connections: each may wait for a node for seconds, and others want to be answered
MAX_COMPLAINT = 200  # characters of what is wrong with a body: names in it are the caller's
AGAIN = ("Retry-After", "1")
LEAVE_TIMEOUT = 5.0  # seconds
STEP = 0.05
LIMITS_OF_CHANNELS = "client.max_channels or realtime.max_channels is reached, or somebody took it out at once"

T = TypeVar("T")


class Call(NamedTuple):
    """What a handler gets: what its pattern took from the path, and the rest as it came.

    Read is only what a handler asks for: a probe's query may be 16 KB of nothing, and strangers may send it.
    """

    parts: Mapping[str, str]
    request: Request

    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(urlsplit(self.request.target).query))

    def body(self, kind: type[T]) -> T:
        """The JSON object; none is an empty one. Raises HttpError if it is something else."""
        try:
            return msgspec.json.decode(self.request.body or b"{}", type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise HttpError(400, f"expected a JSON object as body: {error}"[:MAX_COMPLAINT]) from None


Handler = Callable[[Call], Response | Awaitable[Response]]


class Api:
    """Answers requests by the table of routes. max_publishing: so many may wait for a node at once."""

    def __init__(self, control: Control, settings: AdminSettings, max_publishing: int = MAX_PUBLISHING) -> None:
        self._control = control
        self._access = Access(settings)
        self._bound_to_loopback = is_loopback(split_address(settings.bind)[0])
        self._max_publishing = max_publishing
        self._publishing = 0
        self._is_leaving = False
        self._idempotency = Idempotency(trio.current_time)
        self._routes: list[tuple[Route, Handler]] = [(route, getattr(self, f"_{route.name}")) for route in ROUTES]

    def room(self, request: Request) -> int:
        """Bytes of the body that this one may have: it is told before any of them is read."""
        try:
            self._check_host(request)
            route, _, _ = self._find(request.method, urlsplit(request.target).path)
            self._check_token(request, route)
        except (HttpError, ValueError):
            return SMALL_BODY  # it is refused when it is there
        return route.max_body_bytes

    async def answer(self, request: Request) -> Response:
        """The response to a request. HEAD is answered as GET: the server leaves the body out."""
        try:
            self._check_host(request)
            route, handler, parts = self._find(request.method, urlsplit(request.target).path)
            authorized = self._check_token(request, route)
            call = Call(parts, request)
            if route.method == "GET":
                return await _response(handler, call)
            if not authorized:
                _check_not_a_page(request)
            return await self._idempotency.once(request, partial(_response, handler, call))
        except HttpError as error:
            return as_error(error)
        except ValueError:  # of urlsplit, for a target that is no URL; of unquote
            return as_error(HttpError(400, "the target of the request is not a URL in UTF-8"))

    async def leave(self) -> None:
        """Refuse what nodes would have to do, and wait for what they are doing: whoever waits for an answer that never
        comes does it once more. The rest is answered as before. Returns after LEAVE_TIMEOUT, whatever is left."""
        self._is_leaving = True
        with trio.move_on_after(LEAVE_TIMEOUT):
            while self._publishing:  # noqa: ASYNC110 - some steps, once
                await trio.sleep(STEP)

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
        if self._access.is_open or not route.scope:
            return False
        self._access.check(request.headers.get("authorization", ""), route.scope)
        return True

    def _find(self, method: str, path: str) -> tuple[Route, Handler, dict[str, str]]:
        segments = path.split("/")
        allowed = []
        for route, handler in self._routes:
            parts = _match(route.pattern.split("/"), segments)
            if parts is None:
                continue
            if route.method == method or (route.method, method) == ("GET", "HEAD"):
                return route, handler, parts
            allowed.append("GET, HEAD" if route.method == "GET" else route.method)
        if not allowed:
            raise HttpError(404, "no such path")
        raise HttpError(405, f"this path takes {', '.join(allowed)}", ("Allow", ", ".join(allowed)))

    # --- what they answer

    def _health(self, call: Call) -> Response:
        return as_json(Health("ok"))

    def _ready(self, call: Call) -> Response:
        ready, reason = self._control.ready()
        return as_json(Readiness(ready, reason), 200 if ready else 503)

    def _metrics(self, call: Call) -> Response:
        return Response(200, self._control.metrics(), CONTENT_TYPE_LATEST)

    def _openapi(self, call: Call) -> Response:
        return as_json(description())

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

    async def _publish(self, call: Call) -> Response:
        effects = effects_of(call.body(Publication))
        await self._have_done(effects, call)
        return as_json(Published(len(effects)))

    async def _close(self, call: Call) -> Response:
        client, body = _client_id(call.parts["id"]), call.body(Close)
        await self._have_done([CloseClient(client, check_reason(body.reason), body.code or 0)], call)
        return as_json(Closed(format_client_id(client), True))

    async def _join(self, call: Call) -> Response:
        client, channel = _client_id(call.parts["id"]), _channel_name(call)
        if (size := len(channel.encode())) > (most := self._control.max_channel_name_bytes):
            raise HttpError(400, f"expected a channel's name of at most {most} bytes, got {size}")
        await self._have_done([Join(client, channel)], call)
        is_member = self._control.is_member(client, channel)
        if is_member is False:
            raise HttpError(422, f"it was not put into the channel: {LIMITS_OF_CHANNELS}")
        return as_json(Membership(format_client_id(client), channel, is_member))

    async def _leave(self, call: Call) -> Response:
        client, channel = _client_id(call.parts["id"]), _channel_name(call)
        await self._have_done([Leave(client, channel)], call)
        return as_json(Membership(format_client_id(client), channel, False))

    async def _have_done(self, effects: list[Effect], call: Call) -> None:
        """By a node. Raises HttpError; also before the caller no longer waits, as far as it has said how long."""
        if self._is_leaving:
            raise HttpError(503, "this proxy is about to stop: nothing was done, try again or at another one", AGAIN)
        if self._publishing >= self._max_publishing:
            self._control.limit_hit("admin.publishing")
            raise HttpError(503, f"{self._publishing} requests wait for nodes already: try again in a moment", AGAIN)
        self._publishing += 1
        try:
            await self._control.publish(effects, call.request.wait)
        except HoldfastError as error:
            status = error.http_status
            after = error.retry_after if isinstance(error, RequestError) else None
            again = AGAIN if after is None else ("Retry-After", str(max(1, round(after))))
            raise HttpError(status, str(error), *([again] if status == 503 else [])) from error
        finally:
            self._publishing -= 1

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
        is_kicked = await self._control.kick(client, check_reason(call.body(Kick).reason))
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
            return as_json(self._control.route(call.body(RouteQuestion)))
        except ValueError as error:
            raise HttpError(400, str(error)) from None

    def _channel_rules(self, call: Call) -> Response:
        return as_json(self._control.channel_rules(call.body(ChannelQuestion)))

    def _cluster_health(self, call: Call) -> Response:
        ready, _ = self._control.ready()
        return as_json("ok" if ready else "ko", 200 if ready else 503)

    def _cluster_status(self, call: Call) -> Response:
        return as_json(PluginStatus.of(self._control.cluster()))

    def _cluster_reset(self, call: Call) -> Response:
        if not self._control.reset():
            raise HttpError(409, "this proxy is alone: store.kind is memory")
        return as_json("ok")


async def _response(handler: Handler, call: Call) -> Response:
    response = handler(call)
    return response if isinstance(response, Response) else await response


def _channel_name(call: Call) -> str:
    channel = call.parts["channel"]
    if not channel:
        raise HttpError(400, "expected a channel's name at the end of the path")
    return channel


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
            try:
                parts[expected[1:-1]] = unquote(segment, errors="strict")
            except UnicodeDecodeError:  # not the name of another thing
                raise HttpError(400, "expected UTF-8 in the path") from None
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
