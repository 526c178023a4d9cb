"""The registering of the author's functions: what is to be called, and how.

Async functions are called as they are. Plain ones run in threads, so that one which blocks, or computes for long, holds
up nobody else; `inline=True` says that a function is short, and calls it in the node's own thread. What can't be called
with what it will get is refused when it is registered.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar, overload

from holdfast.node.callbacks import Callback
from holdfast.node.request import Client, Request
from holdfast.node.threads import Threads, is_async, name_of

RequestHandler = TypeVar("RequestHandler", bound=Callable[[Request], Any])
OpenHandler = TypeVar("OpenHandler", bound=Callable[[Client], Any])
CloseHandler = TypeVar("CloseHandler", bound=Callable[..., Any])
MasterFunction = TypeVar("MasterFunction", bound=Callable[[], Coroutine[Any, Any, None]])
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ManagerT = TypeVar("ManagerT", bound=AbstractAsyncContextManager[Any])
StateHandler = TypeVar("StateHandler", bound=Callable[[str, Any], Any])


class Functions:
    """Base class of Node. Each method is a decorator, with or without arguments."""

    def __init__(self) -> None:
        self._on_request: Callable[[Request], Any] | None = None
        self._is_inline = False
        self._on_open: list[Callback] = []
        self._on_close: list[Callback] = []
        self._on_master: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._on_state: list[Callback] = []

    @overload
    def on_request(self, function: RequestHandler, *, inline: bool = ...) -> RequestHandler: ...
    @overload
    def on_request(self, *, inline: bool = ...) -> Callable[[RequestHandler], RequestHandler]: ...
    def on_request(self, function: Callable[[Request], Any] | None = None, *, inline: bool = False) -> Any:
        """Register the function that answers requests: `async def handle(request: Request) -> ...`, or a plain def.

        What it returns is the reply. bytes: of the request's kind, text or binary. str: text. dict, list: text, as
        JSON. None: empty. Reply: with status, headers, or in parts. It may raise RequestError, which the client gets;
        whatever else it raises, SystemExit too, is logged, and the client gets status 500 with the id of the log line.
        It is cancelled when the reply is no longer wanted, and when the link is lost: the request is another node's
        then. A node without this function is given no requests.

        A plain function runs in a thread, `Node(threads=...)` of them at once, and awaits by
        `trio.from_thread.run(node.notify, ...)`. When it is cancelled its thread goes on, but counts for nothing: what
        it does through the node, or waits for there, raises StaleError. With `inline=True` it is called in the node's
        own thread, and holds up everything else in the node while it runs.
        """
        if function is None:
            return partial(self.on_request, inline=inline)
        if self._on_request is not None:
            raise ValueError("a node has one function for requests, and it is registered already")
        _check(function, "a request")
        self._on_request, self._is_inline = function, inline
        return function

    @overload
    def on_open(self, function: OpenHandler, *, inline: bool = ...) -> OpenHandler: ...
    @overload
    def on_open(self, *, inline: bool = ...) -> Callable[[OpenHandler], OpenHandler]: ...
    def on_open(self, function: Callable[[Client], Any] | None = None, *, inline: bool = False) -> Any:
        """Register a function for clients that come: `async def opened(client: Client)`, or a plain def.

        The node is told of every client of every proxy, once; also of those that were there before it. The calls
        are made one at a time, in order, plain functions in a thread; maybe a little later than the client's first
        request. With `inline=True` a plain function is called before any request of that client is handled, and holds
        up the node meanwhile. What it does through the node, every node does: joining twice counts once.
        """
        if function is None:
            return partial(self.on_open, inline=inline)
        _check(function, "a client")
        self._on_open.append(Callback(self._adapt(function), inline=inline))
        return function

    @overload
    def on_close(self, function: CloseHandler, *, inline: bool = ...) -> CloseHandler: ...
    @overload
    def on_close(self, *, inline: bool = ...) -> Callable[[CloseHandler], CloseHandler]: ...
    def on_close(self, function: Callable[..., Any] | None = None, *, inline: bool = False) -> Any:
        """Register a function for clients that went: `(client)` or `(client, reason)`, async or not; as on_open.

        reason: of the table in docs/reference/errors.md, or "unknown" if it went while no link could tell.
        """
        if function is None:
            return partial(self.on_close, inline=inline)
        takes_reason = _takes(function, 2)
        if not takes_reason:
            _check(function, "a client")
        self._on_close.append(Callback(self._adapt(function), inline=inline, args=2 if takes_reason else 1))
        return function

    def on_master(self, function: MasterFunction) -> MasterFunction:
        """Register an async function that runs while this node is master: at most one node is, at each time.

        It is cancelled when the node no longer is, or can't be sure, and begun anew when it is again. If it raises,
        that is logged and it is begun anew; if it returns, that is that. What it does through the node counts only in
        its epoch.
        """
        _check(function)
        self._on_master.append(self._adapt(function))
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
        _check(function, "a key", "a value")
        self._on_state.append(Callback(self._adapt(function), inline=inline))
        return function

    def _adapt(self, function: FunctionT) -> FunctionT:
        """What is called in Trio for a function of the author's, of any kind but that for requests."""
        return function

    def _adapt_manager(self, manager: ManagerT) -> ManagerT:
        """The same for `async with`, when it is to be entered."""
        return manager

    def _handler(self, threads: int) -> Callable[[Request], Any] | None:
        """The function that answers requests, as it is to be called: in so many threads, if it is a plain one."""
        function = self._on_request
        if function is None or self._is_inline or is_async(function):
            return function
        run = Threads(threads).run

        async def call(request: Request) -> object:
            result = await run(function, request)
            return await result if isinstance(result, Awaitable) else result

        return call


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True  # a builtin that does not say
    return True


def _check(function: Callable[..., Any], *arguments: str) -> None:
    if not callable(function):
        raise TypeError(f"expected a function, got {function!r:.80}")
    if not _takes(function, len(arguments)):
        raise TypeError(
            f"{name_of(function)} must take {', '.join(arguments) or 'no argument'}: it could not be called"
        )
