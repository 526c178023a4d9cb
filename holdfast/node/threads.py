"""Plain functions of the node's author, in threads of the node: what blocks in one holds up nobody else.

Owns the limit of how many run at once. Who waits for one may be cancelled; the thread itself can't be, so it goes on to
its end, keeps its place in the limit until then, and what it still wants to do through the node, or waits for there, is
refused. Async functions never come here, and cost nothing of it.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, cast

import trio

from holdfast.node import effects
from holdfast.node.elsewhere import in_trio
from holdfast.protocols.errors import StaleError
from holdfast.protocols.nodes.frames import Effect

ResultT = TypeVar("ResultT")

CANCELLED = "this handler was cancelled, and what it does no longer counts"


class Threads:
    """limit: of those at once. More wait, in order."""

    def __init__(self, limit: int) -> None:
        self.begin_anew(limit)

    def begin_anew(self, limit: int) -> None:
        """For another run. Threads that still go on from a former one take nobody's place."""
        self._limiter = trio.CapacityLimiter(limit)

    @property
    def busy(self) -> int:
        """So many of them run."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """So many calls wait for one."""
        return self._limiter.statistics().tasks_waiting

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - the author's
        """Call it in a thread. What it does through the node (`trio.from_thread.run(node.notify, ...)`) goes where it
        would from the calling task."""
        return await in_trio(self._run, function, arguments)

    async def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
        outlet = effects.current.get()
        if outlet is None:
            return await self._call(function, arguments)
        caller = Caller(outlet)
        token = effects.current.set(caller)  # inherited by the thread
        try:
            return await self._call(function, arguments)
        except trio.Cancelled:
            caller.leave()
            raise
        finally:
            effects.current.reset(token)

    async def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
        call = partial(_outcome, function, arguments)
        result, error = await trio.to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=True)
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error  # it refers to this frame


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    """For Trio, which refuses an awaitable, that whoever called may await, and asks an error for its frames: that may
    raise, and nobody would be woken."""
    try:
        return function(*arguments), None
    except BaseException as error:  # noqa: ASYNC103 - it is raised by whoever called
        return None, error  # noqa: ASYNC104


class Caller:
    """The Outlet of a thread: that of who waits for it, until nobody does any more."""

    def __init__(self, outlet: effects.Outlet) -> None:
        self._outlet = outlet
        self._is_gone = False
        self._waits: set[trio.CancelScope] = set()  # of what the thread does through the node

    def leave(self) -> None:
        """Nobody waits for the thread any more."""
        self._is_gone = True
        for scope in self._waits:
            scope.cancel(reason="the handler that it was for was cancelled")

    def serves(self, default: effects.Outlet) -> bool:
        return self._is_gone or self._outlet.serves(default)  # then no node does what it wants

    def log_context(self) -> dict[str, object]:
        return self._outlet.log_context()

    async def put(self, effect: Effect) -> None:
        await self.call(self._outlet.put, effect)

    async def call(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:  # noqa: ANN401
        """Raises StaleError if nobody waits for the thread, or when nobody does any more."""
        return await in_trio(self._call, function, arguments)

    async def _call(self, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
        if not self._is_gone:
            with trio.CancelScope() as scope:
                self._waits.add(scope)
                try:
                    return await function(*arguments)
                finally:
                    self._waits.discard(scope)
        raise StaleError(CANCELLED)


async def call(function: Callable[..., Awaitable[ResultT]], *arguments: Any) -> ResultT:  # noqa: ANN401 - anything
    """Do for an author's function what is no effect. Raises StaleError in a thread that counts for nothing by now."""
    caller = effects.current.get()
    if isinstance(caller, Caller):
        return cast("ResultT", await caller.call(function, *arguments))
    return await in_trio(function, *arguments)


def current_time() -> float:
    """Trio's clock, in a thread too."""
    if trio.lowlevel.in_trio_run():
        return trio.current_time()
    return trio.from_thread.run_sync(trio.current_time)
