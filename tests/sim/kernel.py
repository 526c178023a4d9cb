"""What the world has in place of a process's kernel: descriptors, epoll, the sockets of clients.

tests.sim.stand_ins puts it where Holdfast's modules look for the real one.
"""

import select
from collections import deque
from collections.abc import Generator
from math import inf
from types import coroutine
from typing import TYPE_CHECKING, Any, NoReturn

import trio
from trio._core import _run
from trio._core._traps import CancelShieldedCheckpoint, WaitTaskRescheduled

from tests.sim.loop import SUCCEEDED, reschedule

if TYPE_CHECKING:
    from tests.sim.process import Process

ROOM = 4096  # bytes on their way to a client that the kernel takes
EPSILON = 1e-9  # what is due shall be due by the process's own clock, after the rounding
READABLE, WRITABLE, HUNG_UP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP


class Descriptor:
    """Something of a process that has a number, and can be waited for."""

    def __init__(self, kernel: "Kernel") -> None:
        self.kernel = kernel
        self.number = kernel.give(self)
        self.epolls: list[Epoll] = []
        self.waiter: trio.lowlevel.Task | None = None

    def events(self) -> int:
        """What it is ready for."""
        raise NotImplementedError

    def changed(self) -> None:
        """It may be ready for more than before."""
        for epoll in self.epolls:
            epoll.hint(self.number)
        if self.waiter is not None and self.events():
            waiter, self.waiter = self.waiter, None
            self.kernel.process.resume(waiter)

    def no_waiter(self, _: object) -> trio.lowlevel.Abort:
        self.waiter = None
        return SUCCEEDED

    def close(self) -> None:
        for epoll in list(self.epolls):
            epoll.unregister(self.number)
        self.kernel.take(self.number)


class Nap:
    """In place of a cancel scope with one wait for a descriptor in it, of which it ends the wait and nothing else: the
    scopes that are entered most. For Trio's deadlines it is a scope."""

    __slots__ = ("_deadline", "_registered_deadline", "_runner", "is_over", "task")

    def __init__(self, *, deadline: float = inf) -> None:
        self._deadline = deadline
        self._registered_deadline = inf
        self.is_over = False
        self.task: trio.lowlevel.Task | None = None  # who waits in it

    def __enter__(self) -> "Nap":
        runner = self._runner = _run.GLOBAL_RUN_CONTEXT.runner
        kernel: Any = runner.io_manager
        assert kernel.nap is None
        kernel.nap = self
        if self._deadline <= runner.clock.current_time():
            self.is_over = True
        elif self._deadline < inf:
            self._registered_deadline = self._deadline
            runner.deadlines.add(self._deadline, self)  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        assert self.task is not None, "no descriptor was waited for"
        self.task = None
        self._unregister()

    def _unregister(self) -> None:
        if self._registered_deadline < inf:
            self._runner.deadlines.remove(self._registered_deadline, self)  # type: ignore[arg-type]
            self._registered_deadline = inf

    def cancel(self, reason: object = None) -> None:
        if not self.is_over:
            self.is_over = True
            self._unregister()
            task = self.task
            if task is not None and task._abort_func is not None:
                task._abort_func(_no_error)
                reschedule(self._runner, task, self)

    _cancel = cancel  # by a deadline

    def unwrap(self) -> None:
        """With this the wait is resumed. What is cancelled about it goes on as that."""
        if self.task is not None and self.task._cancel_status.effectively_cancelled:
            raise trio.Cancelled._create(source="deadline")


class Sleep:
    """Of the present task."""

    __slots__ = ("_is_over", "_process", "_task")

    def __init__(self, process: "Process") -> None:
        self._process = process
        self._task = _run.GLOBAL_RUN_CONTEXT.task
        self._is_over = False

    def wake(self) -> None:
        if not self._is_over and self._process.is_alive:
            self._process.resume(self._task)

    def abort(self, _: object) -> trio.lowlevel.Abort:
        self._is_over = True
        return SUCCEEDED


def _no_error() -> NoReturn:
    raise AssertionError("who waits for a descriptor asks for no error")


class Kernel:
    """One process's. It stands in the place of Trio's I/O manager.

    nap: that has begun, and whose wait comes at once.
    """

    nap: Nap | None = None

    def __init__(self, process: "Process") -> None:
        self.process = process
        self._descriptors: dict[int, Descriptor] = {}
        self._open: list[Any] = []  # what ends with the process: sockets

    def give(self, descriptor: Descriptor) -> int:
        number = self.process.world.next_number()
        self._descriptors[number] = descriptor
        return number

    def take(self, number: int) -> None:
        self._descriptors.pop(number, None)

    def find(self, number: int) -> Any:
        return self._descriptors[number]

    def owns(self, thing: Any) -> None:
        self._open.append(thing)

    def close(self) -> None:
        """The process has ended."""
        for thing in self._open:
            thing.orphaned()
        self._open.clear()
        for descriptor in list(self._descriptors.values()):
            if isinstance(descriptor, Stream):
                descriptor.close()
        self._descriptors.clear()

    # --- Trio's I/O manager -------------------------------------------------------------------------------------------

    def process_events(self, events: object) -> None:
        pass

    @coroutine
    def wait_readable(self, number: Any) -> Generator[Any, Any, None]:
        descriptor = self._descriptors[number if type(number) is int else number.fileno()]
        task = _run.GLOBAL_RUN_CONTEXT.task
        nap = self.nap
        if nap is not None:
            self.nap = None
            nap.task = task
        if descriptor.events():
            yield from trio.lowlevel.checkpoint()  # type: ignore[misc]  # noqa: ASYNC105
        elif nap is None or not nap.is_over:
            descriptor.waiter = task
            (yield WaitTaskRescheduled(descriptor.no_waiter)).unwrap()
            return
        if nap is not None and nap.is_over:
            (yield CancelShieldedCheckpoint).unwrap()
            nap.unwrap()

    @coroutine
    def sleep(self, seconds: float) -> Generator[Any, Any, None]:
        """As trio.sleep, without a cancel scope: that is most of what the ticking of all processes costs."""
        process = self.process
        sleep = Sleep(process)
        process.world.later(seconds / process.clock.rate + EPSILON, sleep.wake)
        (yield WaitTaskRescheduled(sleep.abort)).unwrap()


class Flag(Descriptor):
    """Readable while it is up: an eventfd, and the descriptor of a ZeroMQ socket."""

    is_up = False

    def events(self) -> int:
        return READABLE if self.is_up else 0

    def put_up(self) -> None:
        self.is_up = True
        self.changed()


class Epoll(Descriptor):
    """Level-triggered, as the real one; only who was hinted at is looked at."""

    def __init__(self, kernel: "Kernel") -> None:
        super().__init__(kernel)
        self._masks: dict[int, int] = {}
        self._hinted: dict[int, None] = {}

    def fileno(self) -> int:
        return self.number

    def register(self, number: int, events: int = READABLE) -> None:
        descriptor = self.kernel.find(number)
        descriptor.epolls.append(self)
        self._masks[number] = events
        self.hint(number)

    def modify(self, number: int, events: int) -> None:
        self._masks[number] = events
        self.hint(number)

    def unregister(self, number: int) -> None:
        del self._masks[number]
        self._hinted.pop(number, None)
        self.kernel.find(number).epolls.remove(self)

    def hint(self, number: int) -> None:
        self._hinted[number] = None
        self.changed()

    def events(self) -> int:
        return READABLE if self.poll(0, 1) else 0

    def poll(self, timeout: float = 0, maxevents: int = -1) -> list[tuple[int, int]]:
        ready = []
        for number in list(self._hinted):
            events = self.kernel.find(number).events() & (self._masks[number] | HUNG_UP)
            if not events:
                del self._hinted[number]
                continue
            ready.append((number, events))
            if len(ready) == maxevents:
                break
        for number, _ in ready:  # those that were ready go to the back, so that all have their turn
            del self._hinted[number]
            self._hinted[number] = None
        return ready


class Stream(Descriptor):
    """The proxy's end of a client's connection. room: bytes that the kernel takes on their way to the client."""

    def __init__(self, kernel: "Kernel", client: Any) -> None:
        super().__init__(kernel)
        self.client = client
        self.room = ROOM
        self._taken = 0
        self.incoming: deque[bytes] = deque()
        self.is_over = False  # the client has closed its end
        self.is_reset = False
        self.is_open = True

    def fileno(self) -> int:
        return self.number

    def events(self) -> int:
        events = WRITABLE if self.room > 0 or self.is_reset else 0
        if self.incoming or self.is_over or self.is_reset:
            events |= READABLE
        return events | (HUNG_UP if self.is_reset else 0)

    def came(self, data: bytes) -> None:
        """From the client; b"": it has closed its end."""
        if data:
            self.incoming.append(data)
        else:
            self.is_over = True
        self.changed()

    def read(self, size: int) -> bytes:
        if self.is_reset:
            raise ConnectionResetError
        if self.incoming:
            return self.incoming.popleft()
        if self.is_over:
            return b""
        raise BlockingIOError

    def write(self, data: Any) -> int:
        if self.is_reset:
            raise BrokenPipeError
        if self.room <= 0:
            raise BlockingIOError
        sent = bytes(data[: self.room])
        self.room -= len(sent)
        self.client.sent(self, sent)
        return len(sent)

    def took(self, size: int) -> None:
        """The client has read so much."""
        self.room += size
        self._taken += size
        self.changed()

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """TCP_INFO: how much the client has taken."""
        return bytes(120) + self._taken.to_bytes(8, "little")

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        pass

    def shutdown(self, how: int) -> None:
        self.client.sent(self, b"")

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            super().close()
            self.client.gone(self)


class _Detached:
    """A socket object that was made of a descriptor."""

    def __init__(self, stream: Stream) -> None:
        self.shutdown = stream.shutdown
        self._number = stream.number

    def detach(self) -> int:
        return self._number
