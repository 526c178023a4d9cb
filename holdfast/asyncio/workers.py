"""The asyncio tasks in which handlers run: holdfast.node.workers once more, on the other side.

A task for each request costs as much again as the rest of the request does. So one task, the leader, runs one job after
another, and makes sure that another is awake to go on should this job wait. A job that waits costs a call of the loop,
one that does not costs none.

Every job has a context (contextvars) of its own. What `asyncio.current_task()` says is the worker's task; one that was
cancelled, by us or by its job, is not used again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from time import perf_counter
from types import coroutine
from typing import Any, Generic

import trio

from holdfast.asyncio.crossing import Crossing
from holdfast.node.workers import SLICE, JobT


class Workers(Generic[JobT]):
    """handle: does a job, in asyncio. It raises nothing but asyncio.CancelledError."""

    def __init__(self, handle: Callable[[JobT], Coroutine[Any, Any, None]]) -> None:
        self.handle = handle
        self._queue: deque[JobT] = deque()  # bounded by who puts: Dispatch takes no more than its capacity allows
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: dict[asyncio.Task[None], bool] = {}  # whether we have cancelled it
        self._context = Context()  # of which each job has a copy
        self._loop: asyncio.AbstractEventLoop | None = None  # until it runs there are no jobs
        self._waking = 0  # workers that have been woken, or made, and have not begun to run yet
        self._ahead = 1  # so many are to be: one, and one more for each that has begun since a worker has come back
        self._has_come_back = True
        self._slice_end = 0.0
        self._is_begun = False  # a job in this slice
        self.is_over = False

    def __len__(self) -> int:
        """Jobs that have not begun."""
        return len(self._queue)

    def put(self, job: JobT) -> None:
        """Add a job. `wake` must follow."""
        self._queue.append(job)

    def wake(self, now: float) -> bool:
        """Have the queue worked off, for a time slice. False: it is empty. True: pass a checkpoint and call again."""
        self._slice_end = perf_counter() + SLICE
        self._is_begun = False
        if not self._waking:
            self._wake(1)
        return bool(self._queue)

    def cancel(self, job: JobT, reason: str) -> None:
        """Cancel a job that has not ended. One that has not begun never does; else it sees asyncio.CancelledError."""
        job.is_cancelled = True
        if isinstance(job.worker, asyncio.Task):
            self._cancel(job.worker, reason)
        elif job.worker is not None:
            job.worker.cancel(reason)

    async def run(self, crossing: Crossing) -> None:
        """In Trio. Cancelled, it cancels all jobs, and returns when they have ended."""
        self._loop = crossing.loop
        self._context = copy_context()
        try:
            await trio.sleep_forever()
        finally:
            self.is_over = True
            self._queue.clear()
            for task in list(self._tasks):
                self._cancel(task, "the node has ended")
            await crossing.wait_tasks(self._tasks)

    def _cancel(self, task: asyncio.Task[None], reason: str) -> None:
        """Once: a second time would interrupt what the job does at its end."""
        if self._tasks.get(task) is False:
            self._tasks[task] = True
            task.cancel(reason)

    def _wake(self, count: int) -> None:
        """See to it that so many workers are about to begin, or as many as there are jobs left."""
        count = min(count, len(self._queue))
        while self._waking < count:
            self._waking += 1
            while self._idle:
                wakened = self._idle.pop()
                if not wakened.done():  # else somebody has cancelled its task
                    wakened.set_result(None)
                    break
            else:
                self._make()

    def _make(self) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._work(), context=self._context.copy())
        self._tasks[task] = False
        task.add_done_callback(self._tasks.pop)

    def _begin(self) -> None:
        self._waking -= 1
        if self._has_come_back:
            self._has_come_back = False
        else:
            self._ahead += 1

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._begin()
        while True:
            while self._queue:
                if self._is_begun and perf_counter() > self._slice_end:
                    break
                self._is_begun = True
                job = self._queue.popleft()
                if self._waking < self._ahead:
                    self._wake(self._ahead)
                if job.is_cancelled:
                    continue
                job.worker = task
                try:
                    await _in_context(self._context.copy(), self.handle(job))
                except asyncio.CancelledError:
                    if self.is_over:
                        raise
                    break  # by us, or by what the job itself has begun
                if task.cancelling() or self._tasks[task]:
                    break
            if self.is_over:
                return
            if task.cancelling() or self._tasks[task]:
                self._waking += 1  # another in its place
                self._make()
                return
            await self._park()

    async def _park(self) -> None:
        assert self._loop is not None
        self._ahead = 1
        self._has_come_back = True
        wakened = self._loop.create_future()
        self._idle.append(wakened)
        try:
            await wakened
        except asyncio.CancelledError:  # by somebody who cancels all tasks there are
            if wakened in self._idle:
                self._idle.remove(wakened)
            elif not wakened.cancelled():  # it was to begin
                self._waking -= 1
                self._wake(1)
            raise
        self._begin()


@coroutine
def _in_context(context: Context, job: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Await `job` with every step of it in `context`: as holdfast.node.workers, but that asyncio throws into tasks."""
    run, step = context.run, job.send
    try:
        trap = run(step, None)
        while True:
            try:
                sent = yield trap
            except (Exception, asyncio.CancelledError) as error:
                trap = run(job.throw, error)
            else:
                trap = run(step, sent)
    except StopIteration:
        pass
    finally:
        job.close()
