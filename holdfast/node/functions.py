"""The registering of the author's functions: what is to be called, and how.

How each is called is its Function's. What can't be called with what it will get is refused when it is registered:
ConfigError, which `holdfast node` tells as one line.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, overload

from holdfast.node.function import Function, said
from holdfast.node.request import Client, Request
from holdfast.node.threads import Threads
from holdfast.protocols.errors import ConfigError

RequestHandler = TypeVar("RequestHandler", bound=Callable[[Request], Any])
OpenHandler = TypeVar("OpenHandler", bound=Callable[[Client], Any])
CloseHandler = TypeVar("CloseHandler", bound=Callable[..., Any])
MasterFunction = TypeVar("MasterFunction", bound=Callable[[], Any])
StateHandler = TypeVar("StateHandler", bound=Callable[[str, Any], Any])


class Functions:
    """Base class of Node. Each method is a decorator, with or without arguments."""

    def __init__(self) -> None:
        self._threads = Threads(1)  # of plain functions; a run sets how many
        self._on_request: Function | None = None
        self._on_open: list[Function] = []
        self._on_close: list[Function] = []
        self._on_master: list[Function] = []
        self._on_state: list[Function] = []

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
            raise ConfigError(
                f"a node has one function for requests, and {said(self._on_request.function)} is registered already: "
                f"{said(function)} can't be it too"
            )
        _check(function, "a request")
        self._on_request = Function(function, inline=inline, threads=self._threads)
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
        self._on_open.append(Function(function, inline=inline))
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
        self._on_close.append(Function(function, inline=inline, count=2 if takes_reason else 1))
        return function

    def on_master(self, function: MasterFunction) -> MasterFunction:
        """Register a function that runs while this node is master: at most one node is, at each time. Async; a plain
        one has one of the node's threads meanwhile.

        It is cancelled when the node no longer is, or can't be sure, and begun anew when it is again. If it raises,
        that is logged and it is begun anew; if it returns, that is that. What it does through the node counts only in
        its epoch.
        """
        _check(function)
        self._on_master.append(Function(function, threads=self._threads))
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
        self._on_state.append(Function(function, inline=inline))
        return function


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
        raise ConfigError(f"expected a function to register, got {function!r:.80}")
    if not _takes(function, len(arguments)):
        raise ConfigError(f"{said(function)} must take {', '.join(arguments) or 'no argument'}: it could not be called")
