"""The tasks in which handlers run: leader and followers.

A task with a cancel scope for each request costs 9 us a request more than this (a node that echoes, 100 in flight: 13
us against 4). Most handlers need not wait for anything, so one task, the leader, runs one job after another. Each time
it takes one it makes sure that another worker is awake to go on, should this job wait. So a job that waits costs a
wake-up, and one that does not costs none. A worker that finds jobs left when it begins knows that those before it wait:
it wakes as many as have begun so, in place of one, for each wake-up is a turn of Trio, in which every job that does
something first has its part. There are at most twice as many workers as jobs have ever waited at the same time.

Every job has a context (contextvars) of its own, as if it were a task. A cancel scope serves a worker until it is used.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, Generic, Protocol, TypeVar

import trio

SLICE = 0.02  # after so long the links get a turn, for heartbeats and cancellations; a proxy's patience is 2 s


class Worker:
    """One worker's cancel scope, as it is for its present job."""

    __slots__ = ("is_cancelled", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.is_cancelled = False

    def cancel(self, reason: str) -> None:
        self.is_cancelled = True
        self.scope.cancel(reason=reason)


class Cancellable(Protocol):
    def cancel(self, reason: str, /) -> object: ...


class Job:
    """Base class of jobs. Each is put once."""

    __slots__ = ("is_cancelled", "worker")

    def __init__(self) -> None:
        self.worker: Cancellable | None = None  # who has begun with it: a Worker, or a task of asyncio
        self.is_cancelled = False


JobT = TypeVar("JobT", bound=Job)
JobT_contra = TypeVar("JobT_contra", bound=Job, contravariant=True)


class Jobs(Protocol[JobT_contra]):
    """Whom jobs are put to. Their methods are those of Workers."""

    def __len__(self) -> int: ...
    def put(self, job: JobT_contra) -> None: ...
    def wake(self, now: float) -> bool: ...
    def cancel(self, job: JobT_contra, reason: str) -> None: ...


class Workers(Generic[JobT]):
    """handle: does a job. It must not raise: that would end the node."""

    def __init__(self, handle: Callable[[JobT], Coroutine[Any, Any, None]]) -> None:
        self.handle = handle
        self._queue: deque[JobT] = deque()  # bounded by who puts: Dispatch takes no more than its capacity allows
        self._idle: list[trio.lowlevel.Task] = []
        self._waking = 0  # workers that have been woken, or asked for, and have not begun to run yet
        self._ahead = 1  # so many are to be: one, and one more for each that has begun since a worker has come back
        self._has_come_back = True
        self._slice_end = 0.0
        self._is_begun = False  # a job in this slice
        self._missing = 0  # workers that are asked for
        self._wanted = trio.Event()

    def __len__(self) -> int:
        """Jobs that have not begun."""
        return len(self._queue)

    def put(self, job: JobT) -> None:
        """Add a job. `wake` must follow."""
        self._queue.append(job)

    def wake(self, now: float) -> bool:
        """Have the queue worked off, for a time slice. False: it is empty. True: pass a checkpoint and call again."""
        self._slice_end = now + SLICE
        self._is_begun = False
        if not self._waking:
            self._wake(1)
        return bool(self._queue)

    def cancel(self, job: JobT, reason: str) -> None:
        """Cancel a job that has not ended. One that has not begun never does; else it sees trio.Cancelled."""
        job.is_cancelled = True
        if job.worker is not None:
            job.worker.cancel(reason)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                missing, self._missing = self._missing, 0
                for _ in range(missing):
                    nursery.start_soon(self._work)

    def _wake(self, count: int) -> None:
        """See to it that so many workers are about to begin, or as many as there are jobs left."""
        count = min(count, len(self._queue))
        while self._waking < count:
            self._waking += 1
            if self._idle:
                trio.lowlevel.reschedule(self._idle.pop())
            else:
                self._missing += 1
                self._wanted.set()

    def _begin(self) -> None:
        self._waking -= 1
        if self._has_come_back:
            self._has_come_back = False
        else:
            self._ahead += 1

    async def _work(self) -> None:
        self._begin()
        while True:
            worker = Worker()
            with worker.scope:
                await self._do_jobs(worker)

    async def _do_jobs(self, worker: Worker) -> None:
        """Until the worker is cancelled: its scope is used up then, even if the job ended well."""
        while not worker.is_cancelled:
            while self._queue and not worker.is_cancelled:
                if self._is_begun and trio.current_time() > self._slice_end:
                    break
                self._is_begun = True
                job = self._queue.popleft()
                if self._waking < self._ahead:
                    self._wake(self._ahead)
                if not job.is_cancelled:
                    job.worker = worker
                    has_ended = False
                    try:
                        await in_context(copy_context(), self.handle(job))
                        has_ended = True
                    finally:
                        if not has_ended:
                            self._contain(worker)
            if not worker.is_cancelled:
                await self._park()

    def _contain(self, worker: Worker) -> None:
        """Its job was cancelled: by us, by the end of all, or by a scope that it had open around what we did for it.

        That ends in our scope; else it would be the end of all workers, which Trio takes for one that was asked for.
        """
        if not worker.is_cancelled:
            worker.cancel("a cancel scope of the job cancelled it")

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()
        self._idle.append(task)
        self._ahead = 1
        self._has_come_back = True

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._begin()


@coroutine
def in_context(context: Context, job: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Await `job` with every step of it in `context`.

    Trio resumes a task with values, exceptions and cancellation included. It throws for what is no trap of its own, as
    when a job awaits something of asyncio: that is the job's.
    """
    step = job.send
    try:
        trap = context.run(step, None)
        while True:
            try:
                value = yield trap
            except Exception as error:
                trap = context.run(job.throw, error)
            else:
                trap = context.run(step, value)
    except StopIteration:
        pass
    finally:
        job.close()
