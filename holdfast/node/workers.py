"""The tasks in which handlers run: leader and followers.

A task with a cancel scope for each request costs 9 us a request more than this (a node that echoes, 100 in flight: 13
us against 4). Most handlers need not wait for anything, so one task, the leader, runs one job after another. Each time
it takes one it makes sure that another worker is awake to go on, should this job wait. So a job that waits costs a
wake-up, and one that does not costs none; there are as many workers as jobs have ever waited at the same time.

Every job has a context (contextvars) of its own, as if it were a task. A cancel scope serves a worker until it is used.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, Generic, TypeVar

import trio

SLICE = 0.02  # after so long the links get a turn, for heartbeats and cancellations; a proxy's patience is 2 s


class Worker:
    """One worker's cancel scope, as it is for its present job."""

    __slots__ = ("is_cancelled", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.is_cancelled = False


class Job:
    """Base class of jobs. Each is put once."""

    __slots__ = ("is_cancelled", "worker")

    def __init__(self) -> None:
        self.worker: Worker | None = None  # who has begun with it
        self.is_cancelled = False


JobT = TypeVar("JobT", bound=Job)


class Workers(Generic[JobT]):
    """handle: does a job. It must not raise: that would end the node."""

    def __init__(self, handle: Callable[[JobT], Coroutine[Any, Any, None]]) -> None:
        self._handle = handle
        self._queue: deque[JobT] = deque()  # bounded by who puts: Dispatch takes no more than its capacity allows
        self._idle: list[trio.lowlevel.Task] = []
        self._is_waking = False  # a worker has been woken, or asked for, that has not begun to run yet
        self._slice_end = 0.0
        self._wanted = trio.Event()

    def put(self, job: JobT) -> None:
        """Add a job. `wake` must follow."""
        self._queue.append(job)

    def wake(self, now: float) -> bool:
        """Have the queue worked off, for a time slice. False: it is empty. True: pass a checkpoint and call again."""
        self._slice_end = now + SLICE
        self._wake_one()
        return bool(self._queue)

    def cancel(self, job: JobT, reason: str) -> None:
        """Cancel a job that has not ended. One that has not begun never does; else it sees trio.Cancelled."""
        job.is_cancelled = True
        if job.worker is not None:
            job.worker.is_cancelled = True
            job.worker.scope.cancel(reason=reason)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                nursery.start_soon(self._work)

    def _wake_one(self) -> None:
        if self._queue and not self._is_waking:
            self._is_waking = True
            if self._idle:
                trio.lowlevel.reschedule(self._idle.pop())
            else:
                self._wanted.set()

    async def _work(self) -> None:
        while True:
            self._is_waking = False
            worker = Worker()
            with worker.scope:
                await self._do_jobs(worker)

    async def _do_jobs(self, worker: Worker) -> None:
        """Until the worker is cancelled: its scope is used up then, even if the job ended well."""
        while not worker.is_cancelled:
            while self._queue and not worker.is_cancelled:
                job = self._queue.popleft()
                self._wake_one()
                if not job.is_cancelled:
                    job.worker = worker
                    has_ended = False
                    try:
                        await _in_context(copy_context(), self._handle(job))
                        has_ended = True
                    finally:
                        if not has_ended:
                            self._contain(worker)
                if trio.current_time() > self._slice_end:
                    break
            if not worker.is_cancelled:
                await self._park()

    def _contain(self, worker: Worker) -> None:
        """Its job was cancelled: by us, by the end of all, or by a scope that it had open around what we did for it.

        That ends in our scope; else it would be the end of all workers, which Trio takes for one that was asked for.
        """
        if not worker.is_cancelled:
            worker.is_cancelled = True
            worker.scope.cancel(reason="a cancel scope of the job cancelled it")

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()
        self._idle.append(task)

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._is_waking = False


@coroutine
def _in_context(context: Context, job: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Await `job` with every step of it in `context`.

    Only values are sent into it: that is how Trio resumes a task, exceptions and cancellation included.
    """
    step = job.send
    try:
        trap = context.run(step, None)
        while True:
            trap = context.run(step, (yield trap))
    except StopIteration:
        pass
    finally:
        job.close()
