"""Trio's run loop, without what no simulated process has, and the shortest ways through it.

Owns copies of a few functions of Trio's, which constraints.txt pins: the passes, the batches and their order are its
own. There are no instruments, no threads, no interrupts, nobody who waits until all is idle. Of what a seed costs, a
quarter was Trio's.
"""

import random
from collections.abc import Callable, Generator
from operator import attrgetter
from types import coroutine
from typing import Any

import trio
from outcome import Error, Outcome, Value
from trio._core import _run
from trio._core._traps import CancelShieldedCheckpoint, WaitTaskRescheduled

SUCCEEDED = trio.lowlevel.Abort.SUCCEEDED
_counter = attrgetter("_counter")


def begin(runner: _run.Runner, main: Callable[[], Any]) -> None:
    runner.init_task = runner.spawn_impl(runner.init, (main, ()), None, "<init>", system_task=True)


def turn(runner: _run.Runner, now: float) -> float | None:
    """One pass, in GLOBAL_RUN_CONTEXT of its process. Returns how long it may wait; None: all tasks have ended."""
    deadlines, runq = runner.deadlines, runner.runq
    heap = deadlines._heap
    if heap and heap[0][0] <= now:
        deadlines.expire(now)
    batch = list(runq)
    runq.clear()
    if len(batch) > 1:
        batch.sort(key=_counter)
        random.shuffle(batch)
    context = _run.GLOBAL_RUN_CONTEXT
    for task in reversed(batch):
        context.task = task
        send, sent = task._next_send_fn, task._next_send
        task._next_send_fn = task._next_send = None
        try:
            message = task.context.run(send, sent)  # type: ignore[arg-type]
        except StopIteration as stop:
            outcome: Outcome[Any] = Value(stop.value)
        except BaseException as error:  # noqa: ASYNC103 - a task's end, for its nursery
            outcome = Error(error)
        else:
            if type(message) is WaitTaskRescheduled:
                task._abort_func = message.abort_func
                if task._cancel_status.effectively_cancelled:
                    task._attempt_delivery_of_any_pending_cancel()
            elif message is CancelShieldedCheckpoint:
                reschedule(runner, task)
            else:
                raise TypeError(f"expected a trap of Trio's, got {message!r}")
            continue
        runner.task_exited(task, outcome)  # here, so that no exception has another one for its context
    if batch:
        del context.task
    if not runner.tasks:
        runner.close()
        return None
    return 0.0 if runq else max(0.0, deadlines.next_deadline() - now)


class _Nothing:
    """What most tasks are resumed with: as outcome.Value(None), which can be unwrapped but once."""

    @staticmethod
    def unwrap() -> None:
        pass


NOTHING: Any = _Nothing()


def reschedule(runner: _run.Runner, task: trio.lowlevel.Task, next_send: Any = NOTHING) -> None:
    assert task._next_send_fn is None
    task._next_send_fn = task.coro.send
    task._next_send = NOTHING if next_send is _run._NO_SEND else next_send
    task._abort_func = None
    task.custom_sleep_data = None
    runner.runq.append(task)


@coroutine
def rescheduled(abort: Callable[[Any], trio.lowlevel.Abort]) -> Generator[Any, Any, Any]:
    """As trio.lowlevel.wait_task_rescheduled, of which each wait passes two frames more."""
    return (yield WaitTaskRescheduled(abort)).unwrap()


@coroutine
def shielded_checkpoint() -> Generator[Any, Any, None]:
    """Likewise, as trio.lowlevel.cancel_shielded_checkpoint."""
    (yield CancelShieldedCheckpoint).unwrap()
