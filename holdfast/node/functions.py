"""The registering of the author's functions: what is to be called, and how.

How each is called is its Function's. What can't be called with what it will get is refused when it is registered:
ConfigError, which `holdfast node` tells as one line.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeVar, cast, overload

from holdfast.node.channel_functions import ChannelFunctions
from holdfast.node.function import Function, Whose, is_async, said
from holdfast.node.request import Client, Request
from holdfast.node.routing import Begin, Router, key_of, methods_of
from holdfast.node.threads import Threads
from holdfast.node.typed import Handler, check, fault_of
from holdfast.protocols.channel_names import ChannelPattern
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.paths import Pattern

RequestHandler = TypeVar("RequestHandler", bound=Callable[..., Any])
MiddlewareT = TypeVar("MiddlewareT", bound=Callable[..., Any])
OpenHandler = TypeVar("OpenHandler", bound=Callable[[Client], Any])
CloseHandler = TypeVar("CloseHandler", bound=Callable[..., Any])
MasterFunction = TypeVar("MasterFunction", bound=Callable[[], Any])
AskHandler = TypeVar("AskHandler", bound=Callable[[Any], Any])
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ManagerT = TypeVar("ManagerT", bound=AbstractAsyncContextManager[Any])
StateHandler = TypeVar("StateHandler", bound=Callable[[str, Any], Any])


class CallNext(Protocol):
    """What a middleware calls for what is within it. Gives what that returns."""

    async def __call__(self, request: Request, /) -> Any: ...  # noqa: ANN401 - the author's


class Functions:
    """Base class of Node. Each method is a decorator, with or without arguments."""

    def __init__(self) -> None:
        self._threads = Threads(1)  # of plain functions; a run sets how many
        self._router = Router()
        self._middleware: list[Function] = []
        self._on_open: list[Function] = []
        self._on_close: list[Function] = []
        self._on_open_once: list[Function] = []
        self._on_close_once: list[Function] = []
        self._on_connect: Function | None = None
        self._on_ask: Function | None = None
        self._on_subscribe = ChannelFunctions("on_subscribe")
        self._on_publish = ChannelFunctions("on_publish")
        self._on_master: list[Function] = []
        self._on_state: list[Function] = []

    @overload
    def on_request(self, path: RequestHandler, *, inline: bool = ...) -> RequestHandler: ...
    @overload
    def on_request(
        self, path: str | None = ..., *, method: str | Iterable[str] = ..., inline: bool = ...
    ) -> Callable[[RequestHandler], RequestHandler]: ...
    def on_request(self, path: Any = None, *, method: str | Iterable[str] = (), inline: bool = False) -> Any:
        """Register a function that answers requests: `async def handle(request: Request) -> ...`, or a plain def.

        What it returns is the reply. bytes: of the request's kind, text or binary. str: text. dict, list, int, float,
        bool, dataclass, msgspec.Struct: JSON, as text. None: nothing is sent (over HTTP an empty body).
        NO_REPLY: the same, said (over HTTP it is 204). Reply: with status, headers, or in parts. It may raise
        RequestError, which the client gets; whatever else it raises, SystemExit too, is logged, and the client gets
        status 500 with the id of the log line. It is cancelled when the reply is no longer wanted, and when the link is
        lost: the request is another node's then. A node without such a function is given no requests.

        path: as `/rooms/{id}`: HTTP requests at such a path, and messages of clients that have connected to one. A
        parameter takes a whole segment that is not empty, and its value goes to the function's parameter of that name
        (`async def room(request, id: int)`): as str with its escapes undone, or converted to what that is annotated
        with; one that can't be is status 400. `*` in place of the last segment takes all that follows, and is no
        argument. Of several paths that fit the most specific one is it: segment by segment a word is before a
        parameter, and that before `*`. method: only HTTP requests with that one, or one of these; GET is HEAD, too.
        Without a path: what no other takes. Without such a function that is status 404, or 405 if only the method is
        wrong. Two for one path and method, or two without a path, raise ConfigError.

        A parameter named `body` gets the payload, decoded from JSON and checked against its annotation: a
        msgspec.Struct, a dataclass, a TypedDict, or what else msgspec knows. What does not fit is status 400, which
        says where. With a default, an empty payload is that.

        A plain function runs in a thread, `Node(threads=...)` of them at once, and awaits by
        `trio.from_thread.run(node.notify, ...)`. When it is cancelled its thread goes on, but counts for nothing: what
        it does through the node, or waits for there, raises StaleError. With `inline=True` it is called in the node's
        own thread, and holds up everything else in the node while it runs.
        """
        methods = methods_of(method)
        if path is not None and not issubclass(type(path), str):  # the function: a decorator without arguments
            self._take(path, None, methods, inline)
            return path
        if path is None and methods:
            raise ConfigError(f"a function for one method has a path, too: on_request('/', method={method!r})")

        pattern = None if path is None else Pattern(path)

        def decorate(function: RequestHandler) -> RequestHandler:
            self._take(function, pattern, methods, inline)
            return function

        return decorate

    def on_message(
        self,
        field: str,
        value: str | int | bool = cast("str", None),  # types want one: without, it is said what is missing
        *,
        path: str | None = None,
        inline: bool = False,
    ) -> Callable[[RequestHandler], RequestHandler]:
        """Register a function for those messages of clients that are a JSON object in which `field` is `value`.

        As on_request, which gets what is registered for no value. If several fields are asked for, that one counts
        which was registered first. path: of the clients, as in on_request; before a function without one. An HTTP
        request is no message, whatever its body.
        """

        key, pattern = key_of(field, value), None if path is None else Pattern(path)

        def decorate(function: RequestHandler) -> RequestHandler:
            self._router.add_message(self._handler_of(function, pattern, inline), field, key, pattern)
            return function

        return decorate

    def middleware(self, function: MiddlewareT) -> MiddlewareT:
        """What is around every function for requests: `async def f(request: Request, call_next: CallNext)`.

        `await call_next(request)` calls what is within, and gives what it returns; what this one returns is the reply.
        It may do so with another request, more than once, or not at all; what is raised within comes through it, status
        404 of what nothing takes, too. The first one that is registered is the outermost. In the end the function for
        requests is called as ever, so what any of them does through the node travels with the reply. It must be async:
        in a thread it could not await what is within. ConfigError if it is not.
        """
        check(function, "a request", "what is within")
        if not is_async(function):
            raise ConfigError(f"{said(function)} must be async to be around others: async def f(request, call_next)")
        self._middleware.append(Function(function))
        return function

    def _take(self, function: Callable[..., Any], path: Pattern | None, methods: Sequence[str], inline: bool) -> None:
        self._router.add(self._handler_of(function, path, inline), path, methods)

    def _handler_of(self, function: Callable[..., Any], path: Pattern | None, inline: bool) -> Handler:
        made = Function(function, inline=inline, threads=self._threads)
        return Handler(made, path.names, path.path) if path else Handler(made)

    def _handler(self, tell: Callable[[Handler], None] | None = None) -> Begin | None:
        """What begins a request: all that is registered for them. None: nothing is. tell: see Router."""
        self._router.tell = tell
        begin = self._router.begin
        if begin is not None:
            for function in reversed(self._middleware):
                begin = _around(function.function, begin)
        return begin

    def _whose(self, request: Request) -> Whose:
        """Who handles it, as it is now."""
        around = ", ".join(function.said for function in self._middleware)
        try:
            handler, _ = self._router.find(request)
        except Exception:  # nobody, or an author has put into it what no request has
            return Whose("", "", around)
        return Whose(handler.function.said, handler.route, around)

    @overload
    def on_connect(self, function: OpenHandler, *, inline: bool = ...) -> OpenHandler: ...
    @overload
    def on_connect(self, *, inline: bool = ...) -> Callable[[OpenHandler], OpenHandler]: ...
    def on_connect(self, function: Callable[[Client], Any] | None = None, *, inline: bool = False) -> Any:
        """Register the function that says who may come in: `async def admit(client: Client)`, or a plain def.

        One node is asked before a client's session is open, and before its handshake is answered. It returns None, or a
        Session that says who the client is, or raises Refused. As with a request, it waits while no node is there, and
        another node is asked if this one is lost; a function that fails, or takes longer than request.timeout, lets
        nobody in. The client is none yet: what is done to it through the node is done to nobody, so its channels are
        the Session's. Single HTTP requests have no session, and are not asked for.

        While no node has such a function, every client is let in; see client.admission for proxies that no node has
        been linked to yet.
        """
        if function is None:
            return partial(self.on_connect, inline=inline)
        if self._on_connect is not None:
            raise ConfigError(f"a node has one on_connect: {said(function)} would be the second")
        check(function, "a client")
        self._on_connect = Function(self._adapt(function), inline=inline, threads=self._threads)
        return function

    @overload
    def on_ask(self, function: AskHandler, *, inline: bool = ...) -> AskHandler: ...
    @overload
    def on_ask(self, *, inline: bool = ...) -> Callable[[AskHandler], AskHandler]: ...
    def on_ask(self, function: Callable[[Any], Any] | None = None, *, inline: bool = False) -> Any:
        """Register the function that answers other nodes' `ask` and `tell`: `async def answer(question: Question)`.

        What it returns is the answer, as of on_request; None: empty. It may raise RequestError, which who asks gets.
        """
        if function is None:
            return partial(self.on_ask, inline=inline)
        if self._on_ask is not None:
            raise ConfigError(f"a node has one on_ask: {said(function)} would be the second")
        check(function, "a question")
        self._on_ask = Function(self._adapt(function), inline=inline, threads=self._threads)
        return function

    def on_subscribe(self, pattern: str, *, inline: bool = False) -> Callable[[RequestHandler], RequestHandler]:
        """Register a function that says whether a client may subscribe to a channel by itself, where the channel's rule
        is `subscribe = "node"`: `async def may(request: SubscribeRequest, id: int)`, or a plain def.

        It returns True, or a Subscription, which says more; False and None refuse it, and so does whatever it raises:
        Refused with status and message for the client. pattern: of names, as `room:{id}`: a parameter takes what stands
        between `:` and `/`, and its value goes to the function's parameter of that name, as of on_request; `*` at the
        end takes all that follows. Of several that match the most specific one is asked. A filter of channels (`+`,
        `#`) is taken by a pattern whose `*` stands for these, with `request.is_filter`. A parameter named `body` gets
        what the client says with it, as of on_request.

        It is asked as for a request: it waits while no node is there, another node is asked if this one is lost, and
        what it does through the node is done before the client has subscribed. Where nodes are, and none has such a
        function, clients are refused. ConfigError for what is no pattern, and for a second function for the same one.
        """
        return self._of_channel(self._on_subscribe, pattern, inline, "a client that would subscribe")

    def on_publish(self, pattern: str, *, inline: bool = False) -> Callable[[RequestHandler], RequestHandler]:
        """Register a function for what clients publish to a channel by themselves, where the channel's rule is
        `publish = "node"`: `async def said(request: PublishRequest, id: int)`, or a plain def. pattern: of names, as of
        on_subscribe.

        What it returns is published: the payload as it came (None), or another one, as `node.notify` takes it; bytes
        are of the kind that came, text or binary. NO_REPLY: nothing is published, and the client is told that it is.
        Raise Refused, with status and message for the client, if it may not. What it does through the node comes before
        that; the client has its answer when all of its proxy's members have it. If the node is lost meanwhile another
        one is asked, and it is published once. With it goes who has published it: `{"client": ..., "user": ...}`.
        """
        return self._of_channel(self._on_publish, pattern, inline, "what a client publishes")

    def _of_channel(
        self, functions: ChannelFunctions, pattern: str, inline: bool, what: str
    ) -> Callable[[RequestHandler], RequestHandler]:
        if not isinstance(pattern, str):
            raise ConfigError(f'a function for {what} has a pattern of channels, as "room:{{id}}", got {pattern!r:.80}')
        of = ChannelPattern(pattern)

        def decorate(function: RequestHandler) -> RequestHandler:
            made = Function(self._adapt(function), inline=inline, threads=self._threads)
            functions.add(of, Handler(made, of.names, pattern))
            return function

        return decorate

    @overload
    def on_open(self, function: OpenHandler, *, inline: bool = ..., once: bool = ...) -> OpenHandler: ...
    @overload
    def on_open(self, *, inline: bool = ..., once: bool = ...) -> Callable[[OpenHandler], OpenHandler]: ...
    def on_open(
        self, function: Callable[[Client], Any] | None = None, *, inline: bool = False, once: bool = False
    ) -> Any:
        """Register a function for clients that come: `async def opened(client: Client)`, or a plain def.

        The node is told of every client of every proxy, once; also of those that were there before it. The calls
        are made one at a time, in order, plain functions in a thread; maybe a little later than the client's first
        request. With `inline=True` a plain function is called before any request of that client is handled, and holds
        up the node meanwhile. What it does through the node, every node does: joining twice counts once.

        With `once=True` one node is told, of all that have such a function, as one is given a request: at least once,
        and again at another one if it is lost, with `client.redelivered`. Clients that were there before are not told.
        """
        if function is None:
            return partial(self.on_open, inline=inline, once=once)
        check(function, "a client")
        if once:
            self._on_open_once.append(Function(self._adapt(function), inline=inline, threads=self._threads))
        else:
            self._on_open.append(Function(self._adapt(function), inline=inline))
        return function

    @overload
    def on_close(self, function: CloseHandler, *, inline: bool = ..., once: bool = ...) -> CloseHandler: ...
    @overload
    def on_close(self, *, inline: bool = ..., once: bool = ...) -> Callable[[CloseHandler], CloseHandler]: ...
    def on_close(self, function: Callable[..., Any] | None = None, *, inline: bool = False, once: bool = False) -> Any:
        """Register a function for clients that went: `(client)` or `(client, reason)`, async or not; as on_open.

        With `once=True` one node is told, after it was told by `on_open(once=True)` that the client came; also when its
        proxy was lost, and then marked as redelivered.

        reason: of the table in docs/reference/errors.md, or "unknown" if it went while no link could tell.
        """
        if function is None:
            return partial(self.on_close, inline=inline, once=once)
        arguments = ("a client",) if fault_of(function, None, None) else ("a client", "a reason")
        check(function, *arguments)
        count, adapted = len(arguments), self._adapt(function)
        if once:
            self._on_close_once.append(Function(adapted, inline=inline, threads=self._threads, count=count))
        else:
            self._on_close.append(Function(adapted, inline=inline, count=count))
        return function

    def on_master(self, function: MasterFunction) -> MasterFunction:
        """Register a function that runs while this node is master: at most one node is, at each time. Async; a plain
        one has one of the node's threads meanwhile.

        It is cancelled when the node no longer is, or can't be sure, and begun anew when it is again. If it raises,
        that is logged and it is begun anew; if it returns, that is that. What it does through the node counts only in
        its epoch.
        """
        check(function)
        self._on_master.append(Function(self._adapt(function), threads=self._threads))
        return function

    @overload
    def on_state(self, function: StateHandler, *, inline: bool = ...) -> StateHandler: ...
    @overload
    def on_state(self, *, inline: bool = ...) -> Callable[[StateHandler], StateHandler]: ...
    def on_state(self, function: Callable[[str, Any], Any] | None = None, *, inline: bool = False) -> Any:
        """Register a function for changes of the state: `(key, value)`, None for a deleted key; async or not.

        Called for each change in their order, and for each key there is at the beginning. After a link was
        lost it is called for what differs. With `inline=True` a plain function is called at once: before `set` returns,
        for one; it holds up the node meanwhile.
        """
        if function is None:
            return partial(self.on_state, inline=inline)
        check(function, "a key", "a value")
        self._on_state.append(Function(self._adapt(function), inline=inline))
        return function

    def _adapt(self, function: FunctionT) -> FunctionT:
        """What is called in Trio for a function of the author's, of any kind but that for requests."""
        return function

    def _adapt_manager(self, manager: ManagerT) -> ManagerT:
        """The same for `async with`, when it is to be entered."""
        return manager


def _around(middleware: Callable[..., Any], begin: Begin) -> Begin:
    async def call_next(request: Request) -> object:
        result = begin(request)
        return await result if isinstance(result, Awaitable) else result

    return lambda request: middleware(request, call_next)
