"""The reactor: one Trio task that owns an epoll nested in Trio's, and calls whoever has a ready descriptor.

A task per connection costs 13-20 us a message and 3 KiB a connection before any work; this costs 6-7 us and nothing
(docs/topics/performance.md). So here is the one loop of the hot path: at most 256 events, then the steps that end a
turn (links flush, replies are taken, connections write), then Trio's checkpoint. It knows nothing of protocols, and of
connections only that a new one waits for its turn.

Other tasks of the same thread may call anything that hangs on the reactor between turns; they end with `settle`.
"""

import os
import select
from collections.abc import Callable
from typing import Final, Protocol

import structlog
import trio

from holdfast.masses import Masses

log = structlog.get_logger("holdfast.reactor")

EVENTS_PER_TURN = 256  # then links flush and Trio's other tasks run
# Each costs a handshake, some 25 us, and its accepting (listener) as much again: 3 ms. With 256 the others'
# latency in a storm of 5,000 was 30 ms, and the storm was over no sooner.
NEWCOMERS_PER_TURN = 64
# A turn takes what is ready for so long; then it is written, requests leave, and all limits are looked at. 256 events
# are 4 ms; a few of them can inflate to as many megabytes as there are bytes in them.
READING_TIME = 0.008
EVENTS_PER_LOOK = 16  # at the clock
READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
HANG_UP: Final = select.EPOLLRDHUP


class Handler(Protocol):
    """Owner of a registered descriptor."""

    def on_ready(self, events: int, now: float) -> None:
        """The descriptor is ready, or in error or hung up (then reading or writing it says so)."""
        ...

    def on_crash(self) -> None:
        """`on_ready` raised: a fault of ours. Close what belongs to this descriptor; the others live on."""
        ...


class Crashing(Protocol):
    """Who has a fault of its own to bear, and nobody else."""

    def on_crash(self) -> None: ...


def close_crashed(crashed: Crashing) -> bool:
    """Have one that raised close what is its own. False: that raised as well."""
    try:
        crashed.on_crash()
    except Exception:  # the guard's own guard
        log.exception("handler_crashed")
        return False
    return True


class _Wakeup:
    def on_ready(self, events: int, now: float) -> None:
        pass

    def on_crash(self) -> None:
        pass


class _Bell:
    """Rung by other tasks, and for what goes on in the next turn: the loop is not to wait now."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.calls: dict[Callable[[], None], None] = {}

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def on_ready(self, events: int, now: float) -> None:
        os.eventfd_read(self.fd)
        calls, self.calls = self.calls, {}
        for call in calls:
            call()

    def on_crash(self) -> None:
        pass


class _Door:
    """Some newcomers have something to say."""

    def __init__(self, admit: Callable[[], None]) -> None:
        self._admit = admit

    def on_ready(self, events: int, now: float) -> None:
        self._admit()

    def on_crash(self) -> None:
        pass


class Reactor:
    """The loop. `now` is the time of the current turn, trio.current_time's clock, read once per turn, and again when a
    node's batch comes in it (`look_at_clock`): else a reply that comes in the turn of its request took no time.

    masses: what the log says of those whom it serves, who are strangers; the ticker ticks it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._outside = select.epoll()
        self._newcomers: set[int] = set()  # descriptors in there
        self._handlers: dict[int, Handler] = {}
        self._steps: list[Callable[[float], bool]] = []
        self._crashes: set[tuple[Callable[[float], bool], type[Exception]]] = set()  # that have been logged
        self.masses = Masses()
        self.clock: Callable[[], float] = trio.current_time
        self.now = trio.current_time()
        self.turns = 0
        self.events = 0
        self.busy = 0.0  # seconds spent in turns
        self._bell = _Bell()
        self.register(self._bell.fd, self._bell)
        self.register(self._outside.fileno(), _Door(self._admit_some))

    def register(self, fd: int, handler: Handler, events: int = READABLE) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def register_newcomer(self, fd: int, handler: Handler) -> None:
        """The same, READABLE, for one that has said nothing yet: it is heard when it is its turn among its like.

        An epoll tells who is ready in the order in which they became so: behind 5,000 handshakes at once, everybody
        else's next message would wait 100 ms. So a newcomer is in an epoll of its own kind until it is ready once.
        """
        self._handlers[fd] = handler
        self._newcomers.add(fd)
        self._outside.register(fd, READABLE)

    def hand_over(self, fd: int, handler: Handler) -> None:
        """From now on it is this one's."""
        self._handlers[fd] = handler

    def _admit_some(self) -> None:
        for fd, _ in self._outside.poll(0, NEWCOMERS_PER_TURN):
            self._admit(fd)

    def _admit(self, fd: int) -> None:
        """Into the epoll of all others, which tells in the next turn what the newcomer was ready for."""
        self._newcomers.remove(fd)
        self._outside.unregister(fd)
        self._epoll.register(fd, READABLE)

    def wake_on(self, fd: int) -> None:
        """End the wait when this descriptor is ready; a step at the turn's end deals with it."""
        self.register(fd, _Wakeup())

    def modify(self, fd: int, events: int) -> None:
        if fd in self._newcomers:
            self._admit(fd)
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Before the descriptor is closed: its number may come back at once."""
        del self._handlers[fd]
        if fd in self._newcomers:
            self._admit(fd)
        self._epoll.unregister(fd)

    def at_turn_end(self, step: Callable[[float], bool]) -> None:
        """Call `step(now)` at each turn's end, in order of registration. True: it has more to do, don't wait."""
        self._steps.append(step)

    def in_next_turn(self, call: Callable[[], None]) -> None:
        """Call it once, in the next turn, however often that is said."""
        self._bell.calls[call] = None
        self._bell.ring()

    def settle(self) -> None:
        """For other tasks: end what was a turn of theirs. What is left to do then, `run` goes on with at once."""
        if self._end_turn():
            self._bell.ring()

    def look_at_clock(self) -> None:
        """Within a turn, or for other tasks: what is measured from now on is measured from now. Never goes back."""
        now = self.clock()
        if now > self.now:
            self.now = now

    def _end_turn(self) -> bool:
        """Run the steps. True: one of them has more to do."""
        now = self.now
        more = False
        for step in self._steps:
            try:
                if step(now):
                    more = True
            except Exception as error:  # a guard: one part's fault must not stop the others, nor the proxy
                self._step_crashed(step, error)
        return more

    def _step_crashed(self, step: Callable[[float], bool], error: Exception) -> None:
        """Say so once for each kind: it may be so in every turn."""
        kind = (step, type(error))
        if kind not in self._crashes:
            self._crashes.add(kind)
            log.error("step_crashed", step=getattr(step, "__qualname__", repr(step)), exc_info=error)

    def close(self) -> None:
        """When nothing is registered any more."""
        self._outside.close()
        self._epoll.close()
        os.close(self._bell.fd)

    def _handle(self, ready: list[tuple[int, int]], now: float) -> list[tuple[int, int]]:
        """Tell whose descriptor is ready. Returns those for whom this turn has no time."""
        handlers = self._handlers
        until = now + READING_TIME
        for at in range(0, len(ready), EVENTS_PER_LOOK):
            if at and trio.current_time() >= until:
                self.events += at
                return ready[at:]
            for fd, events in ready[at : at + EVENTS_PER_LOOK]:
                handler = handlers.get(fd)
                if handler is None:  # closed by an earlier event of this turn
                    continue
                try:
                    handler.on_ready(events, now)
                except Exception:  # a guard: a fault with one descriptor must not stop the others
                    if self.masses.admits("handler_crashed", now):
                        log.exception("handler_crashed")
                    if not close_crashed(handler) and handlers.get(fd) is handler:
                        self.unregister(fd)  # it would be ready again in every turn
        self.events += len(ready)
        return []

    async def run(self) -> None:
        """The task. Ends only by cancellation."""
        poll = self._epoll.poll
        descriptor = self._epoll.fileno()
        current_time = trio.current_time
        more = self._end_turn()
        left: list[tuple[int, int]] = []
        while True:
            if more or left:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(descriptor)
            self.now = now = current_time()
            left = self._handle(left or poll(0, EVENTS_PER_TURN), now)
            more = self._end_turn()
            self.turns += 1
            self.busy += current_time() - now
