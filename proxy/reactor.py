"""The reactor: one Trio task that owns an epoll nested in Trio's, and calls whoever has a ready descriptor.

A task per connection costs 13-20 us a message and 3 KiB a connection before any work; this costs 6-7 us and nothing
(docs/topics/performance.md). So here is the one loop of the hot path: at most 256 events, then the steps that end a
turn (links flush, replies are taken, connections write), then Trio's checkpoint. It knows nothing of protocols.

Other tasks of the same thread may call anything that hangs on the reactor between turns; they end with `settle`.
"""

import select
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

log = structlog.get_logger("holdfast.reactor")

EVENTS_PER_TURN = 256  # then links flush and Trio's other tasks run
READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT


class Handler(Protocol):
    """Owner of a registered descriptor."""

    def on_ready(self, events: int, now: float) -> None:
        """The descriptor is ready, or in error or hung up (then reading or writing it says so)."""
        ...

    def on_crash(self) -> None:
        """`on_ready` raised: a fault of ours. Close what belongs to this descriptor; the others live on."""
        ...


class _Wakeup:
    def on_ready(self, events: int, now: float) -> None:
        pass

    def on_crash(self) -> None:
        pass


class Reactor:
    """The loop. `now` is the time of the current turn, trio.current_time's clock, read once per turn."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._steps: list[Callable[[float], bool]] = []
        self.now = trio.current_time()
        self.turns = 0
        self.events = 0
        self.busy = 0.0  # seconds spent in turns

    def register(self, fd: int, handler: Handler, events: int = READABLE) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def wake_on(self, fd: int) -> None:
        """End the wait when this descriptor is ready; a step at the turn's end deals with it."""
        self.register(fd, _Wakeup())

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Before the descriptor is closed: its number may come back at once."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def at_turn_end(self, step: Callable[[float], bool]) -> None:
        """Call `step(now)` at each turn's end, in order of registration. True: it has more to do, don't wait."""
        self._steps.append(step)

    def settle(self) -> bool:
        """End a turn: run the steps. True: one of them has more to do."""
        now = self.now
        more = False
        for step in self._steps:
            if step(now):
                more = True
        return more

    def close(self) -> None:
        """When nothing is registered any more."""
        self._epoll.close()

    async def run(self) -> None:
        """The task. Ends only by cancellation."""
        handlers = self._handlers
        poll = self._epoll.poll
        descriptor = self._epoll.fileno()
        current_time = trio.current_time
        more = self.settle()
        while True:
            if more:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(descriptor)
            self.now = now = current_time()
            ready = poll(0, EVENTS_PER_TURN)
            for fd, events in ready:
                handler = handlers.get(fd)
                if handler is None:  # closed by an earlier event of this turn
                    continue
                try:
                    handler.on_ready(events, now)
                except Exception:  # a guard: a fault with one descriptor must not stop the others
                    log.exception("handler_crashed")
                    handler.on_crash()
            more = self.settle()
            self.turns += 1
            self.events += len(ready)
            self.busy += current_time() - now
