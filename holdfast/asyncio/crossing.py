"""From asyncio to Trio and back, both in one thread. Cancellation crosses both ways: who waits here waits for the end
of what it has cancelled there.

Owns the two ways, for as long as Trio's run lasts. How that is had is hosts.py's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from math import inf
from typing import Any, TypeVar

import structlog
import trio

from holdfast.node.raised import split
from holdfast.node.workers import Job, Workers, in_context
from holdfast.protocols.errors import HoldfastError, StaleError

log = structlog.get_logger("holdfast.node")

END_TIMEOUT = 10.0  # for cancelled functions to end, when the node does: asyncio's may refuse
NOT_RUNNING = "the node does not run: what it does goes nowhere before `run` and after it"

ValueT = TypeVar("ValueT")
Outcome = tuple[Any, BaseException | None]


class Errand(Job):
    """What asyncio code has done in Trio, in its own context (contextvars)."""

    __slots__ = ("arguments", "context", "error", "function", "is_over", "over", "value")

    def __init__(self, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments
        self.context = copy_context()
        self.value: Any = None
        self.error: BaseException | None = None
        self.is_over = False
        self.over: asyncio.Future[None] | None = None  # who waits

    async def run(self) -> None:
        """In Trio. Raises trio.Cancelled only."""
        try:
            self.value = await self.function(*self.arguments)
        except trio.Cancelled:
            self.error = StaleError(NOT_RUNNING)
            raise
        except BaseException as error:
            cancelled, self.error = split(error)
            if cancelled is not None:
                raise cancelled from None
        finally:
            self.end()

    def end(self) -> None:
        self.is_over = True
        if self.over is not None and not self.over.done():
            self.over.set_result(None)


class Crossing:
    """loop: asyncio's. current_time: of Trio's clock, known when its run has begun."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.current_time: Callable[[], float] = trio.current_time
        self._errands: set[Errand] = set()  # bounded by the asyncio tasks that wait for them
        self._workers: Workers[Errand] = Workers(self._do)
        self._is_over = False

    async def run(self) -> None:
        """Task, in Trio: do what is asked for from asyncio."""
        self.current_time = trio.lowlevel.current_clock().current_time
        await self._workers.run()

    def end(self) -> None:
        """Trio's run is over."""
        self._is_over = True
        for errand in self._errands:
            if not errand.is_over:
                errand.error = StaleError(NOT_RUNNING)
                errand.end()

    async def _do(self, errand: Errand) -> None:
        await in_context(errand.context, errand.run())

    # --- from asyncio -----------------------------------------------------------------------------------------------

    async def to_trio(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:  # noqa: ANN401
        """What `await function(*arguments)` gives in Trio. Raises HoldfastError when Trio's run is over, StaleError if
        it ends meanwhile."""
        if self._is_over:
            raise HoldfastError(NOT_RUNNING)
        errand = Errand(function, arguments)
        self._errands.add(errand)
        self._workers.put(errand)
        self._workers.wake(inf)
        cancelled: asyncio.CancelledError | None = None
        try:
            while not errand.is_over:
                errand.over = self.loop.create_future()
                try:
                    await errand.over
                except asyncio.CancelledError as error:
                    cancelled = error
                    self._workers.cancel(errand, "the asyncio task that waits for it was cancelled")
                    if errand.worker is None:
                        break  # it never begins
            if cancelled is not None:  # also if it has done its work: who was cancelled is told that
                raise cancelled
            if errand.error is not None:
                raise errand.error
            return errand.value
        finally:
            self._errands.discard(errand)
            del cancelled, errand  # an error refers to this frame

    @asynccontextmanager
    async def within_trio(self, manager: AbstractAsyncContextManager[ValueT]) -> AsyncIterator[ValueT]:
        """`async with manager`, which is entered and left in Trio, in one task. What the block raises is not for it."""
        entered: asyncio.Future[ValueT] = self.loop.create_future()
        leaving = trio.Event()

        async def hold() -> None:
            async with manager as value:
                if not entered.done():
                    entered.set_result(value)
                    await leaving.wait()

        holding = self.loop.create_task(self.to_trio(hold))
        try:
            await asyncio.wait((entered, holding), return_when=asyncio.FIRST_COMPLETED)
            if holding.done():
                holding.result()
            yield entered.result()
        finally:
            if entered.cancel():
                holding.cancel()
            leaving.set()
            if not holding.done():
                await holding

    # --- from Trio --------------------------------------------------------------------------------------------------

    async def to_asyncio(self, awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401
        """What `await awaitable` gives in asyncio, in a task of its own."""
        try:
            return await self._join(self.loop.create_task(_outcome(awaitable), context=copy_context()))
        finally:
            # It may have been cancelled before it began.
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            elif isinstance(awaitable, asyncio.Future):
                awaitable.cancel()

    async def _join(self, task: "asyncio.Task[Outcome]") -> Any:  # noqa: ANN401
        if task.done():
            return _result(task)
        me = trio.lowlevel.current_task()
        task.add_done_callback(lambda _: trio.lowlevel.reschedule(me))
        raise_cancelled: trio.lowlevel.RaiseCancelT | None = None

        def abort(raise_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            nonlocal raise_cancelled
            raise_cancelled = raise_
            task.cancel("cancelled in Trio")
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if task.cancelled() and raise_cancelled is not None:
            raise_cancelled()
        return _result(task)

    @asynccontextmanager
    async def within_asyncio(self, manager: AbstractAsyncContextManager[ValueT]) -> AsyncIterator[ValueT]:
        """`async with manager`, which is entered and left in asyncio, in one task. It sees what the block raises."""
        entered, leaving = trio.Event(), self.loop.create_future()
        values: list[ValueT] = []

        async def hold() -> None:
            async with manager as value:
                values.append(value)
                entered.set()
                await leaving

        task = self.loop.create_task(_outcome(hold()), context=copy_context())
        task.add_done_callback(lambda _: entered.set())
        try:
            await entered.wait()
            if not values:
                _result(task)
            yield values[0]
        except trio.Cancelled:
            task.cancel("cancelled in Trio")
            await self.wait_tasks((task,))
            if task.done() and not task.cancelled():
                _result(task)  # what its end has raised
            raise
        except Exception as error:
            if task.done():
                raise
            leaving.set_exception(error)
            await self._join(task)
        else:
            leaving.set_result(None)
            await self._join(task)

    async def wait_tasks(self, tasks: Iterable["asyncio.Task[Any]"]) -> None:
        """Wait until these have ended, which have been cancelled: also if who waits is."""
        left = set(tasks)
        with trio.CancelScope(deadline=trio.current_time() + END_TIMEOUT, shield=True):
            while left := {task for task in left if not task.done()}:
                await self.to_asyncio(asyncio.wait(left))
        if left:
            log.error("functions_left", count=len(left))


async def _outcome(awaitable: Awaitable[Any]) -> Outcome:
    """What it gives, or one of the two that asyncio's loop would be ended by."""
    try:
        return await awaitable, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


def _result(task: "asyncio.Task[Outcome]") -> Any:  # noqa: ANN401
    value, error = task.result()
    try:
        if error is not None:
            raise error
        return value
    finally:
        del error  # it refers to this frame
