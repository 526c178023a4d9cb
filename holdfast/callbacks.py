"""Functions of the node's author that are told of what happens: on_open, on_close, on_state.

A sync function is called at once, before anything else happens. Async ones are called one after another, in order, in
a task of their own, so that none holds up a link. Their queue has no limit of its own, because the stream must be
complete: it is as long as they lag, which Node.statistics() shows. What a function raises is logged, and the next is
called.
"""

import inspect
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import structlog
import trio

log = structlog.get_logger("holdfast.node")


class Callbacks:
    """len(): calls that have not returned yet."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()  # the first one is being called
        self._filled = trio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def call(self, functions: Iterable[Callable[..., Any]], *arguments: Any) -> None:  # noqa: ANN401 - the author's
        """Call each function: a sync one now, an async one when all before it have returned."""
        for function in functions:
            if inspect.iscoroutinefunction(function):
                self._put(function, arguments)
            else:
                self._guarded(function, arguments)

    def after(self, function: Callable[[], None]) -> None:
        """Call a function of ours when all that were to be called have returned: now, if none waits."""
        if self._queue:
            self._put(function, ())
        else:
            function()

    def _put(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._queue.append((function, arguments))
        self._filled.set()

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            while self._queue:
                function, arguments = self._queue[0]
                if inspect.iscoroutinefunction(function):
                    await self._guarded_async(function, arguments)
                else:
                    function()
                self._queue.popleft()
                await trio.lowlevel.checkpoint()
            self._filled = trio.Event()

    def _guarded(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """The guard of sync callbacks."""
        try:
            function(*arguments)
        except Exception:
            log.exception("callback_failed", callback=_name(function))

    async def _guarded_async(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """The guard of async callbacks."""
        try:
            await function(*arguments)
        except Exception:
            log.exception("callback_failed", callback=_name(function))


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
