"""The log of the simulator: one for the world, and each proxy's way to it.

It is asked as in a thread: what is asked takes place at one moment, some time after it was asked, and the answer comes
later. It can be cut off, and an answer can be lost, by the same faults as those of the coordination store.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from holdfast.balancer.history.base import Append, Appended, Keep, LogUnavailable, Page
from holdfast.balancer.history.memory import MemoryLog
from holdfast.proxy.realtime.histories import Histories
from holdfast.proxy.realtime.log_queue import LogQueue
from tests.sim.store import STORE, TIMEOUT

if TYPE_CHECKING:
    from tests.sim.proxies import SimProxy
    from tests.sim.world import World

KEEP = Keep(200, 0, 1e6)
LOGGED = ("blue", "green", "red", "log:a", "log:b")  # channels that have a history


class SimLog:
    """One proxy's way to the log of the world. has_waited: the store has not answered while this was asked."""

    is_blocking = True
    made_room = forgotten_early = 0

    def __init__(self, proxy: "SimProxy") -> None:
        self._proxy = proxy
        self._world: World = proxy.world
        self._log: MemoryLog = proxy.world.log
        self.has_waited = False

    def append(self, appends: Sequence[Append], now: float) -> list[Appended]:
        return self._ask(lambda: self._log.append(appends, now))

    def read(self, channel: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
        return self._ask(lambda: self._log.read(channel, after, limit, max_bytes, now))

    def news(self, cursor: str, limit: int) -> tuple[str, list[tuple[str, str, int]]]:
        return self._ask(lambda: self._log.news(cursor, limit))

    def renew(self, channel: str, epoch: str) -> str:
        return self._ask(lambda: self._log.renew(channel, epoch))

    def close(self) -> None:
        pass

    def _ask(self, operation: Callable[[], Any]) -> Any:
        world, who = self._world, self._proxy.id
        if world.is_cut(who, STORE):
            self.has_waited = True
            raise LogUnavailable("the store did not answer")
        answer = operation()
        if world.is_cut(STORE, who) or world.random.random() < world.store.answers_lost:
            self.has_waited = True
            raise LogUnavailable("the store did not answer")
        return answer

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        world, proxy = self._world, self._proxy
        task = trio.lowlevel.current_task()
        answers: list[Any] = []
        is_over = False

        def arrive() -> None:
            self.has_waited = False
            answers.append(function(*arguments))
            world.later(TIMEOUT if self.has_waited else world.store.delay(), proxy.when_awake, go_on)

        def go_on() -> None:
            if not is_over and proxy.is_alive:
                proxy.resume(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            nonlocal is_over
            is_over = True
            return trio.lowlevel.Abort.SUCCEEDED

        world.later(world.store.delay(), arrive)
        await trio.lowlevel.wait_task_rescheduled(abort)
        return answers[0]


def attach(proxy: "SimProxy") -> LogQueue:
    """Give it channels with history, as its composition would."""
    app = proxy.app
    log = SimLog(proxy)
    queue = LogQueue(log, app.reactor, app.counters, lambda: 1e9 + proxy.world.time, log.in_thread)

    def interrupted(channel: str, why: str) -> None:
        proxy.world.note(proxy.id, "interrupts", channel, why)
        app.subscriptions.interrupted(channel, why)

    histories = Histories(
        queue,
        app.channels,
        app.reactor,
        app.counters,
        lambda channel: KEEP if channel in LOGGED else None,
        interrupted,
        proxy.id,
        gives_without=True,
    )
    app.lanes.histories = app.subscriptions._histories = histories
    app.channels.on_last = histories.forget
    tick = app.ticker.tick

    def ticked(now: float) -> None:
        histories.tick(now)
        tick(now)

    app.ticker.tick = ticked  # type: ignore[method-assign]
    return queue
