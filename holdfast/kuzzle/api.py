"""Api: a node that speaks Kuzzle. Controllers, actions, and the way from a message to an action and back.

Owns the table of actions and the guard around them. The controllers that most nodes want come ready made and are
asked for by name (`realtime`, `documents`, `local_auth`); whatever is not asked for is not there.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from secrets import token_hex
from typing import Any, TypeVar
from uuid import uuid4

import structlog
import trio

from holdfast import ConfigError, Node, Reply
from holdfast import Request as Message
from holdfast.kuzzle import http as kuzzle_http
from holdfast.kuzzle import wire
from holdfast.kuzzle.auth import LocalAuth
from holdfast.kuzzle.catalog import Catalog
from holdfast.kuzzle.contents import Contents
from holdfast.kuzzle.documents import Documents
from holdfast.kuzzle.errors import KuzzleError, error
from holdfast.kuzzle.expiring import Expiring
from holdfast.kuzzle.fading import Fading
from holdfast.kuzzle.holdings import Holdings, Quota
from holdfast.kuzzle.realtime import Realtime
from holdfast.kuzzle.routes import Routes
from holdfast.kuzzle.time_slice import TimeSlice
from holdfast.kuzzle.wire import Action, Request
from holdfast.node.errors import StateError, StateRefused
from holdfast.node.function import Function
from holdfast.node.raised import as_kind, innermost, traceback_of
from holdfast.node.threads import Threads
from holdfast.node.typed import check

log = structlog.get_logger("holdfast.kuzzle")

# Seconds by which the clocks of two nodes may differ; with what a proxy may stand still before it closes its clients.
SKEW = 60.0

ActionT = TypeVar("ActionT", bound=Action)


class Api:
    """The Kuzzle API of a node. It becomes the node's request handler.

        api = Api(node)

        @api.action("server", "now")
        async def now(request: Request) -> dict[str, int]:
            return {"now": request.timestamp}

    An action gets a `wire.Request` and returns the result, which must be JSON; a plain function does so in a thread, as
    handlers of a node do. What it raises: a
    KuzzleError goes to the client as it is; anything else as `plugin.runtime.unexpected_error` with an id that the log
    has too, and nothing of the inside. What it does through the node (notify, join) travels with its response, and is
    dropped if it raises; `await request.flush()` has it done at once.
    """

    def __init__(self, node: Node) -> None:
        """Raises ConfigError for a node of holdfast.asyncio: what the API does itself is Trio's."""
        if not node._is_trios:
            raise ConfigError(f"the Kuzzle API is for a holdfast.Node: node {node.id} is of holdfast.asyncio")
        self.node = node
        self._actions: dict[str, dict[str, Function]] = {}
        self._threads = Threads(node.threads)
        self._routes = Routes()
        self._time_slice = TimeSlice()
        self._auth: LocalAuth | None = None
        self._realtime: Realtime | None = None
        self._documents: Documents | None = None
        self._expiring: Expiring | None = None
        self.add("server", "publicApi", self._public_api)  # by it the SDK finds the routes
        node.on_request(self.handle)

    # --- actions --------------------------------------------------------------------------------------------------

    def action(
        self, controller: str, action: str, http: Iterable[tuple[str, str]] | None = None
    ) -> Callable[[ActionT], ActionT]:
        """Decorator: the function is the action `controller:action`.

        http: its routes, as pairs of verb and path, in which `:name` is an argument; without it, the routes of the
        action of that name in Kuzzle, or `GET /_/controller/action`.
        """

        def decorate(function: ActionT) -> ActionT:
            self.add(controller, action, function, http)
            return function

        return decorate

    def add(
        self, controller: str, action: str, function: Action, http: Iterable[tuple[str, str]] | None = None
    ) -> None:
        """What `action` does, without the decorator."""
        actions = self._actions.setdefault(controller, {})
        if action in actions:
            raise ConfigError(f"the action {controller}:{action} is there already")
        check(function, "a request")
        self._routes.add(controller, action, http)
        actions[action] = Function(function, threads=self._threads)

    def description(self) -> dict[str, Any]:
        """Every action and its routes, as server:publicApi and server:info give it."""
        return self._routes.public_api()

    # --- ready-made controllers -----------------------------------------------------------------------------------

    def realtime(self) -> Realtime:
        """The controller `realtime`: subscribe, join, unsubscribe, publish, count, list."""
        if self._realtime is None:
            self._realtime = Realtime(self.node, self._is_revoked, self._time_slice)
            for name, action in self._realtime.actions().items():
                # Only what needs no connection to be told things on later has a route.
                self.add("realtime", name, action, None if name in ("publish", "list") else ())
        return self._realtime

    def documents(self, quota: Quota | None = None) -> Documents:
        """The controllers `document`, `collection` and `index`: in memory, the same on every node.

        quota: how many documents there may be, and bytes of them; every node must have the same. Who writes above it
        gets `services.storage.write_limit_exceeded` (413).
        """
        if self._documents is None:
            holdings = Holdings(self.node, quota or Quota())
            contents = Contents(self.node)
            catalog = Catalog(self.node, holdings, contents)
            self._documents = Documents(self.node, catalog, self.realtime(), holdings, contents, self._time_slice)
            Fading(self.node, self._time_slice)
            for controller, actions in {**catalog.actions(), "document": self._documents.actions()}.items():
                for name, action in actions.items():
                    self.add(controller, name, action)
        return self._documents

    def local_auth(self, users: Mapping[str, str], *, secret: str, lifetime: float = 3600.0) -> LocalAuth:
        """The controller `auth` with the strategy `local`: login, logout, checkToken, getCurrentUser.

        users: passwords by name. secret: what tokens are signed with; every node must have the same. lifetime: how
        long a token is good for, in seconds, unless the client asks for something else.
        """
        auth = self._auth = LocalAuth(self._expiry(), users, secret.encode(), lifetime, self._token_ended)
        for name, action in auth.actions().items():
            self.add("auth", name, action)
        return auth

    def _is_revoked(self, token: str) -> bool:
        return self._auth is not None and self._auth.is_revoked(token)

    async def _token_ended(self, request: Request) -> None:
        if self._realtime is not None:
            await self._realtime.token_ended(request)

    def _expiry(self) -> Expiring:
        if self._expiring is None:
            self._expiring = Expiring(self.node, self._time_slice)
        return self._expiring

    # --- the way of a request -------------------------------------------------------------------------------------

    async def handle(self, message: Message) -> Reply:
        """The node's request handler."""
        http = message.http
        request = Request(client=message.client.id, protocol=message.client.protocol, redelivered=message.redelivered)
        now = time.time()
        request.timestamp = int(now * 1000)
        request.until = now + message.deadline - trio.current_time() + SKEW
        request.origin = _origin(message)
        request.flush = message.flush
        if http is None:
            _, body, failed = await self._guarded(request, message)
            return Reply(body, text=True, failed=failed)
        request.request_id = http.headers.get("x-kuzzle-request-id") or str(uuid4())
        status, body, failed = await self._guarded(request, message)
        headers = kuzzle_http.response_headers(request.request_id, self.node.id, http.headers.get("origin"))
        return Reply(body, status, headers, failed=failed)

    async def _guarded(self, request: Request, message: Message) -> tuple[int, bytes, bool]:
        """The guard of actions: status, response, and whether it is one of a failure, whatever they raise."""
        try:
            outcome = await self._run(request, message)
            return request.status, wire.response(request, self.node.id, outcome), False
        except Exception as raised:
            wrong: Exception = raised
            try:
                failure = _kuzzle_error(raised)
                if failure is not None:
                    return failure.status, wire.response(request, self.node.id, failure), True
            except Exception as unsaid:  # its class may be the author's
                wrong = unsaid
            id = token_hex(4)
            if self.node.failures.admits("action_failed"):
                log.error(
                    "action_failed",
                    id=id,
                    controller=request.controller,
                    action=request.action,
                    exception=traceback_of(wrong),
                )
            failure = error("plugin.runtime.unexpected_error", f"internal error ({id})")
            return failure.status, wire.response(request, self.node.id, failure), True

    async def _run(self, request: Request, message: Message) -> object:
        http = message.http
        if http is None:
            data = wire.decode(message.payload, "network.websocket.unexpected_error")
            request.request_id = str(uuid4())
        else:
            read = kuzzle_http.read(self._routes, http.method, http.target, http.headers, message.payload)
            if read is None:
                return {}
            data = read
        wire.fill(request, data)
        for name, value in (("controller", request.controller), ("action", request.action)):
            if not value:
                raise error("api.assert.missing_argument", name)
        actions = self._actions.get(request.controller or "")
        if actions is None:
            raise error("api.process.controller_not_found", request.controller)
        action = actions.get(request.action or "")
        if action is None:
            raise error("api.process.action_not_found", request.controller, request.action)
        if self._auth is not None:
            self._auth.authenticate(request)
        return await action(request)

    async def _public_api(self, request: Request) -> dict[str, Any]:
        return self.description()


def _origin(message: Message) -> str:
    """Equal for all deliveries of a request and for no other one: unlike the client's id, ours is not used twice."""
    return f"{message.client.id:x}/{message.id:x}"


def _kuzzle_error(raised: BaseException) -> KuzzleError | None:
    """What an action raised, also in a nursery of its own, if it is something to tell the client."""
    raised = innermost(raised)
    if as_kind(raised, StateRefused):  # a 5xx would count against this node, whose fault it is not
        return error("services.storage.write_limit_exceeded", raised)
    if as_kind(raised, StateError):
        return error("core.fatal.service_unavailable", raised)
    return as_kind(raised, KuzzleError)
