"""What an author's code does beside requests, in one run of a node: tasks it has started, and jobs at intervals.

Owns the guard of each, the threads of those that are plain functions, and their end: tasks are cancelled when the node
has drained; of a job no turn begins once it drains, and one that is under way may end. Their effects go out at once. A
job of the master's is called in its terms by mastership, so what it does counts as a master's there.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import structlog
import trio

from holdfast.node import effects, threads
from holdfast.node.errors import RequestError
from holdfast.node.failures import Failures
from holdfast.node.function import Function, check_result, is_async, name_of, said
from holdfast.node.raised import guarded, traceback_of
from holdfast.node.threads import Threads
from holdfast.protocols.errors import HoldfastError

log = structlog.get_logger("holdfast.node")

MAX_TASKS = 10_000  # each is some KiB, and clients may have handlers start them
END_TIMEOUT = 1.0  # for cancelled tasks that shield what they do last; then their surroundings are taken down
WHERE = "tasks are started in its lifespan or in what it calls"
NOT_WITHIN = f"the node does not run in this thread: {WHERE}"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A function that is called every `interval` seconds. on_master: only where and while this node acts as master."""

    function: Callable[[], Any]
    interval: float
    on_master: bool
    at_once: bool
    is_inline: bool


class Tasks:
    """links: where effects go. limit: of threads for tasks, and again for each job one. is_ready: set when the first
    proxy has us as ready; jobs begin then. is_draining: of the node. masters: what is to run while it acts as master:
    ours, and so Trio's, whoever adapts what authors register.
    """

    def __init__(
        self,
        links: effects.Outlet,
        jobs: Sequence[Job],
        failures: Failures,
        limit: int,
        is_ready: trio.Event,
        is_draining: trio.Event,
    ) -> None:
        self._links = links
        self._failures = failures
        self._limit = limit
        # A turn that was cancelled in its thread holds up the next one: so a job never overlaps with itself.
        self._jobs = {job: Threads(1) for job in jobs}
        self.masters = [Function(partial(self.run_job, job)) for job in jobs if job.on_master]
        self._is_ready = is_ready
        self._is_draining = is_draining
        self._nursery: trio.Nursery | None = None
        self._have_ended = trio.Event()
        self.count = 0  # of tasks that have not ended
        self._turns = 0  # under way
        self._idle = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Task: hold those that are started, until `end`."""
        try:
            async with trio.open_nursery() as nursery:
                self._threads = Threads(self._limit)
                self._token = trio.lowlevel.current_trio_token()
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._have_ended.set()

    async def end(self) -> None:
        """Cancel the tasks, and wait until they have ended. None can be started any more."""
        if self._nursery is not None:
            self.cancel()
            await self._have_ended.wait()

    def cancel(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the node has drained")

    # --- tasks ------------------------------------------------------------------------------------------------------

    def start_soon(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """In Trio and its threads. Raises HoldfastError before and after the run and elsewhere, RequestError (503) if
        there are too many, StaleError in a thread that counts for nothing by now."""
        if self._nursery is None or trio.lowlevel.in_trio_run():
            self._start(function, arguments)
            return
        try:
            trio.from_thread.run(threads.call, self._start_from_thread, function, arguments)
        except RuntimeError as error:  # Trio knows of no run for this thread, or that is over
            raise HoldfastError(NOT_WITHIN) from error

    async def _start_from_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._start(function, arguments)

    def _start(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self._nursery is None or self._nursery.cancel_scope.cancel_called:
            raise HoldfastError(f"the node does not run: {WHERE}")
        if trio.lowlevel.current_trio_token() is not self._token:
            raise HoldfastError(NOT_WITHIN)
        if self.count >= MAX_TASKS:
            raise RequestError(503, f"{MAX_TASKS} tasks of the node's own have not ended: try again in a moment")
        self.count += 1
        self._nursery.start_soon(self._do_task, function, arguments, name=name_of(function))

    async def _do_task(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        effects.current.set(self._links)  # not those of the request whose handler has started it
        try:
            await self._call(function, arguments, self._threads)
        finally:
            self.count -= 1

    # --- jobs -------------------------------------------------------------------------------------------------------

    async def run_jobs(self) -> None:
        """Task: those of every node."""
        effects.current.set(self._links)
        await self._is_ready.wait()
        async with trio.open_nursery() as nursery:
            for job in self._jobs:
                if not job.on_master:
                    nursery.start_soon(self.run_job, job)

    async def run_job(self, job: Job) -> None:
        """Turn after turn, until the node drains. They keep to the beat of the first one: what lasts longer than an
        interval, or a process that stood still, costs those that were due meanwhile."""
        due = trio.current_time() + (0 if job.at_once else job.interval)
        while not self._is_draining.is_set():
            with trio.move_on_at(due):
                await self._is_draining.wait()
                break
            self._turns += 1
            try:
                await self._call(job.function, (), None if job.is_inline else self._jobs[job])
            finally:
                self._turns -= 1
                if not self._turns:
                    self._idle.set()
            due += job.interval * max(1, ceil((trio.current_time() - due) / job.interval))

    async def wait_turns(self) -> None:
        """Wait until no turn is under way. For a node that drains: none begins any more."""
        while self._turns:
            self._idle = trio.Event()
            await self._idle.wait()

    # ----------------------------------------------------------------------------------------------------------------

    async def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...], threads: Threads | None) -> None:
        """The guard. threads: for a plain function; None: it is called here."""
        with guarded(partial(self._failed, function)):
            if threads is None or is_async(function):
                result = function(*arguments)
            else:
                result = await threads.run(function, *arguments)
            if isinstance(result, Awaitable):
                result = await result
            check_result(function, result)

    def _failed(self, function: Callable[..., Any], error: BaseException) -> None:
        if self._failures.admits("task_failed"):
            log.error("task_failed", function=said(function), exception=traceback_of(error))
