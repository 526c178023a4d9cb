"""Trio's run within asyncio's, in one thread (Trio's guest mode): one for all nodes of a loop.

Owns its beginning and its end. The loop is the author's own, of whatever make: libraries find what they expect.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from sniffio import thread_local as library

from holdfast.asyncio.crossing import NOT_RUNNING, Crossing
from holdfast.node import elsewhere
from holdfast.protocols.errors import HoldfastError

ResultT = TypeVar("ResultT")

ENDED = (
    "asyncio's loop was ended by something that runs in it, and the node with it: who cancels all of "
    "asyncio.all_tasks(), or calls loop.stop(), does that"
)
OTHER_THREAD = (
    "the node does not run in this thread, nor in a loop that is begun here: what is plain awaits by "
    "trio.from_thread.run(node.notify, ...), and what is asyncio's in the node's own loop"
)


class Guest:
    """Trio's run. users: nodes that need it; the last one ends it."""

    def __init__(self, *, has_signals: bool) -> None:
        loop = asyncio.get_running_loop()
        self.crossing = Crossing(loop)
        self.users = 0
        self._scope = trio.CancelScope()
        _guests.add(self)
        self._ended: asyncio.Future[Any] = loop.create_future()  # of the outcome of Trio's run
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=has_signals,
        )

    async def _main(self) -> None:
        with self._scope:
            await self.crossing.run()

    def _done(self, outcome: object) -> None:
        self.crossing.end()
        _here.guest = None
        _guests.discard(self)
        self._ended.set_result(outcome)

    async def end(self) -> None:
        self._scope.cancel(reason="no node needs Trio any more")
        cancelled: asyncio.CancelledError | None = None
        while not self._ended.done():  # whoever is impatient: Trio can't be left alone, and does not take long
            try:
                await asyncio.wait((self._ended,))
            except asyncio.CancelledError as error:
                cancelled = error
        self._ended.result().unwrap()
        if cancelled is not None:
            raise cancelled

    async def wait_ended(self) -> None:
        await asyncio.wait((self._ended,))


class Here(threading.local):
    """guest: Trio's run in this thread."""

    guest: Guest | None = None


_here = Here()
_guests: set[Guest] = set()  # of all threads


def crossing() -> Crossing:
    """That of this thread. Raises HoldfastError if no node runs here."""
    if _here.guest is None:
        raise HoldfastError(OTHER_THREAD if _guests else NOT_RUNNING)
    return _here.guest.crossing


def is_trio() -> bool:
    """Whether the caller runs in Trio."""
    return library.name == "trio"


def is_guest() -> bool:
    """Whether it runs in Trio within asyncio."""
    return is_trio() and _here.guest is not None


@asynccontextmanager
async def guest(*, has_signals: bool = True) -> AsyncIterator[Crossing]:
    """Have Trio run within the running loop. has_signals: the loop has, or may want, the descriptor by which Python
    tells of signals (`signal.set_wakeup_fd`); else Trio has it."""
    while _here.guest is not None and not _here.guest.users:
        await _here.guest.wait_ended()
    if _here.guest is None:
        _here.guest = Guest(has_signals=has_signals)
    guest = _here.guest
    guest.users += 1
    try:
        yield guest.crossing
    finally:
        guest.users -= 1
        if not guest.users:
            await guest.end()


def run(function: Callable[..., Awaitable[ResultT]], *arguments: Any) -> ResultT:  # noqa: ANN401 - anything
    """As `trio.run`, but within `asyncio.run`. Raises HoldfastError if something that runs there has ended it."""
    was_cancelled = False

    async def main() -> ResultT:
        nonlocal was_cancelled
        try:
            async with guest(has_signals=False) as crossing:
                result: ResultT = await crossing.to_trio(function, *arguments)
                return result
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    try:
        return asyncio.run(main())
    except (asyncio.CancelledError, RuntimeError) as error:
        if not was_cancelled:
            raise
        raise HoldfastError(ENDED) from error


elsewhere.way = crossing
