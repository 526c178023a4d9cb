"""What an author sets up before a node serves, and takes down after it: @lifespan.

Owns the order of these, one within the other around the whole run, and the guard of each half. Before the run they are
entered, and one that fails ends it before it has begun. After it they are left, each however the run has ended, and one
that fails there is a line in the log. Two times are not theirs to choose: one that is being entered when the node is
told to drain is cancelled, and one that does not end is cancelled when `drain_timeout` is over.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from math import inf
from typing import Any, NamedTuple

import structlog
import trio

from holdfast.node.errors import LifespanError
from holdfast.node.raised import line_of, seen_from, split, traceback_of

log = structlog.get_logger("holdfast.node")

LEAST = 1.0  # seconds that each has to end in, also where handlers have used up drain_timeout


class Lifespan(NamedTuple):
    """begin: makes the context manager, of the node or of nothing, as the author's function takes it."""

    name: str
    begin: Callable[[Any], AbstractAsyncContextManager[Any]]


class Lifespans:
    """Of one run. is_draining: of the node. end_by: when all of it should be over, by Trio's clock; known once the node
    drains."""

    def __init__(
        self, lifespans: Sequence[Lifespan], node: object, is_draining: trio.Event, drain_timeout: float
    ) -> None:
        self._lifespans = lifespans
        self._node = node
        self._is_draining = is_draining
        self._drain_timeout = drain_timeout
        self._entering: trio.CancelScope | None = None
        self.end_by = inf

    async def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """Await `body` within all of them, if the node is not to drain before. Raises LifespanError."""
        await self._nest(self._lifespans, body)

    async def give_up_when_drained(self) -> None:
        """Task, beside `run`: who is being entered then is cancelled."""
        await self._is_draining.wait()
        if self._entering is not None:
            self._entering.cancel(reason="the node drains")

    async def _nest(self, lifespans: Sequence[Lifespan], body: Callable[[], Awaitable[None]]) -> None:
        if not lifespans:
            await body()
            return
        lifespan, *inner = lifespans
        failure: Exception | None = None
        # The author's function may have scopes and nurseries open while it is entered, so ours is around both halves.
        with trio.CancelScope() as scope:
            manager = await self._enter(lifespan, scope)
            failure = await self._within(lifespan, manager, scope, inner, body)
        if scope.cancelled_caught and scope.deadline < inf:
            log.warning("lifespan_timeout", lifespan=lifespan.name, drain_timeout=self._drain_timeout)
        if failure is not None:
            raise failure

    async def _enter(self, lifespan: Lifespan, scope: trio.CancelScope) -> AbstractAsyncContextManager[Any]:
        self._entering = scope
        if self._is_draining.is_set():
            scope.cancel(reason="the node drains")
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            manager = lifespan.begin(self._node)
            await manager.__aenter__()
        except BaseException as error:
            cancelled, failure = split(error)
            if cancelled is not None:
                _tell(lifespan, failure)
                raise cancelled from None  # noqa: ASYNC104 - it is what was raised, or a part of it
            assert failure is not None
            why = line_of(failure)
            raise LifespanError(f"lifespan {lifespan.name} failed: {why}") from _as_seen(failure)  # noqa: ASYNC104
        finally:
            self._entering = None
        return manager

    async def _within(
        self,
        lifespan: Lifespan,
        manager: AbstractAsyncContextManager[Any],
        scope: trio.CancelScope,
        inner: Sequence[Lifespan],
        body: Callable[[], Awaitable[None]],
    ) -> Exception | None:
        """The run, and the leaving. Returns what the run has raised: a lifespan is left after that as after a drain,
        and has no part in it. Cancellation is different: it may come from a scope of the lifespan's own.
        """
        failure: Exception | None = None
        interruption: BaseException | None = None
        wrong: BaseException | None = None
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_exit(manager)
                try:
                    await trio.lowlevel.checkpoint_if_cancelled()  # it was, while the last of the entering was done
                    await self._nest(inner, body)
                except Exception as error:
                    failure = error
                except BaseException as error:
                    interruption = error
                    raise
                now = trio.current_time()
                scope.deadline = max(min(self.end_by, now + self._drain_timeout), now + LEAST)
        except BaseException as error:  # noqa: ASYNC103 - what of it is cancellation goes on
            if error is interruption:
                raise
            cancelled, wrong = split(error)
            if cancelled is not None or interruption is None:
                _tell(lifespan, wrong)
            if cancelled is not None:
                raise cancelled from None  # noqa: ASYNC104
        if interruption is not None:
            why = "a cancel scope or nursery of its own was cancelled" if wrong is None else line_of(wrong)
            raise LifespanError(f"lifespan {lifespan.name} has ended the run: {why}") from wrong and _as_seen(wrong)
        return failure


def _tell(lifespan: Lifespan, error: BaseException | None) -> None:
    if error is not None:
        log.error("lifespan_failed", lifespan=lifespan.name, exception=traceback_of(_as_seen(error)))


def _as_seen(error: BaseException) -> BaseException:
    """With a traceback that begins at the author's function."""
    return seen_from(error, __file__, contextlib.__file__)
