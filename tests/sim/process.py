"""One simulated process: a Trio run of its own, stepped by the world, by a clock of its own.

Everything in it is the real program. A pass of Trio's run loop says how long it would wait; in `trio.run` the kernel
does that, in guest mode another loop, here the world: it comes again at that time, or with what has come for the
process. So a process can be frozen (it is not stepped), be slow, and be killed, and a thousand seconds cost nothing but
the work that is done in them. Uses some of Trio's inside (Runner), which constraints.txt pins.
"""

import sys
from collections.abc import Callable
from contextvars import copy_context
from heapq import heappop, heappush
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any

import trio
from trio._core import _run
from trio._core._entry_queue import EntryQueue
from trio._core._ki import KIManager

from tests.sim import loop
from tests.sim.kernel import EPSILON, Kernel

if TYPE_CHECKING:
    from tests.sim.world import World


class Clock(trio.abc.Clock):
    """A process's own: from any start, somewhat fast or slow."""

    def __init__(self, world: "World", rate: float | None) -> None:
        self._world = world
        self.rate = world.random.uniform(0.925, 1.083) if rate is None else rate
        self.offset = world.random.uniform(0, 1000)
        self.behind = 0.0  # its wall clock, in seconds

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self.offset + self._world.time * self.rate

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()

    def to_world(self, time: float) -> float:
        """The world's time when this clock shows `time`."""
        return (time - self.offset) / self.rate


class _Wakeup:
    """In place of the socket pair by which Trio is woken from other threads: there are none."""

    def __init__(self) -> None:
        self._event = trio.Event()

    async def wait_woken(self) -> None:
        await self._event.wait()
        self._event = trio.Event()

    def wakeup_thread_and_signal_safe(self) -> None:
        self._event.set()

    def close(self) -> None:
        pass


class NoInstruments(dict[str, Any]):
    """Trio asks six times in each pass whether it has any: of a plain dictionary, not of one that is made in Python."""


class Process:
    """id: for the world. Subclasses have `main`, which is the program.

    is_alive: until it is killed, or its program ends. An exception of the program is the world's problem.
    """

    # With work without end it gets on by so many passes of its loop, then time goes on by a pause.
    passes, pause = 16, 0.001

    def __init__(self, world: "World", id: str, rate: float | None) -> None:
        self.world = world
        self.id = id
        self.clock = Clock(world, rate)
        self.kernel = Kernel(self)
        self.is_alive = True
        self.is_frozen = False
        self.frozen_at = inf  # by its own clock
        self.thawed_at = -inf
        self._waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []  # what comes when it thaws
        self._due = inf  # when it goes on
        self._alarms: list[float] = []  # when the world comes to look, as a heap: the first is not later than `_due`
        self._runner = runner = _run.Runner(
            clock=self.clock,
            instruments=NoInstruments(),  # type: ignore[arg-type]
            io_manager=self.kernel,
            system_context=copy_context(),
            ki_manager=KIManager(),
            strict_exception_groups=True,
            entry_queue=EntryQueue(wakeup=_Wakeup()),
        )
        runner.asyncgens.prev_hooks = sys.get_asyncgen_hooks()
        self._scope = trio.CancelScope()

    async def main(self) -> None:
        raise NotImplementedError

    def ended(self, error: BaseException | None) -> None:
        """Its program has returned or raised. Not called when it was killed."""

    def stepped(self) -> None:
        """It has done something."""

    # --- running ------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.clock.current_time()

    def start(self) -> None:
        self._schedule(self.world.time)

    def wake(self) -> None:
        """Something has come: it goes on at this moment, unless it is frozen."""
        if not self.is_frozen and self._due > self.world.time:
            self._schedule(self.world.time)

    def resume(self, task: trio.lowlevel.Task) -> None:
        loop.reschedule(self._runner, task)
        self.wake()

    def freeze(self) -> None:
        self.is_frozen = True
        self.frozen_at = self.clock.current_time()

    def thaw(self) -> None:
        self.is_frozen = False
        self.frozen_at = inf
        self.thawed_at = self.world.time
        waiting, self._waiting = self._waiting, []
        for do, arguments in waiting:
            self.do(do, *arguments)
        self._schedule(self.world.time)

    def when_awake(self, do: Callable[..., Any], *arguments: Any) -> None:
        """What comes from outside: now, or when it thaws; if it has died the caller's `do` sees that."""
        if not self.is_alive:  # perhaps killed while it was frozen: it never thaws
            do(*arguments)
        elif self.is_frozen:
            self._waiting.append((do, arguments))
        else:
            self.do(do, *arguments)

    def _schedule(self, at: float) -> None:
        self._due = at
        alarms = self._alarms
        if not alarms or alarms[0] > at:
            heappush(alarms, at)
            self.world.at(at, self._step)

    def _step(self) -> None:
        heappop(self._alarms)
        if not self.is_alive or self.is_frozen:
            return
        world = self.world
        if self._due > world.time:  # what was due now is later by now
            if self._due < inf:
                self._schedule(self._due)
            return
        self._due = inf
        # As `with self`, of which each step would pass two frames more.
        _run.GLOBAL_RUN_CONTEXT.runner = self._runner
        world.current = self
        for _ in range(self.passes):
            wait = self._pass()
            if wait is None or wait > 0:
                break
        world.current = None
        _run.GLOBAL_RUN_CONTEXT.__dict__.clear()
        if wait is None:
            return
        if wait < 10_000:
            self._schedule(world.time + (wait / self.clock.rate + EPSILON if wait else self.pause))
        self.stepped()

    def _pass(self) -> float | None:
        """One pass of Trio's loop. Returns how long it may wait; None: the program has ended."""
        runner = self._runner
        if runner.init_task is None:
            loop.begin(runner, self._main)
            return 0.0
        try:
            wait = loop.turn(runner, self.clock.offset + self.world.time * self.clock.rate)
        except Exception as error:  # of the loop, or of what is called when a wait is cancelled
            self._finish(error)
            return None
        if wait is None:
            self._finish(getattr(runner.main_task_outcome, "error", None))
        return wait

    def _finish(self, error: BaseException | None) -> None:
        self.is_alive = False
        self.kernel.close()
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        self.ended(error)

    async def _main(self) -> None:
        with self._scope:
            await self.main()

    def __enter__(self) -> "Process":
        """What is done now is done in this process."""
        _run.GLOBAL_RUN_CONTEXT.runner = self._runner
        self.world.current = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.world.current = None
        _run.GLOBAL_RUN_CONTEXT.__dict__.clear()

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something of this process, as one of its tasks would."""
        with self:
            result = function(*arguments)
        self.wake()
        return result

    def kill(self) -> None:
        """As by SIGKILL: nothing more of it has any effect, and what it had is given back."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.kernel.close()
        self.world.graveyard.append(self)
        for do, arguments in self._waiting:
            do(*arguments)

    def bury(self) -> None:
        """Have its tasks end, whoever may listen: at the world's end, so that nothing of it is left in memory."""
        self.ended = lambda error: None
        with self:
            self._scope.cancel()
            for _ in range(200):
                if self._pass() is None:
                    break
