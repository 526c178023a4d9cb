"""The thread in which a store's blocking library waits, so that the event loop never does.

Owns when a caller stops waiting. Refuses to run two operations at once: a connection is then used by one thread only,
and an operation that was given up is over before the next one begins.
"""

import time
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from holdfast.balancer.coordination.base import CoordinationError

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class StoreThread:
    """At most one thread of Trio's, for one store. store: its name in messages.

    The library's own waits must be bounded as well, each and all together (`left`): a thread can't be interrupted, and
    until it ends, everything that is asked of the store fails by `timeout`.
    """

    def __init__(self, store: str, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._limiter = trio.CapacityLimiter(1)
        self._end = 0.0  # of the operation that has the thread

    async def call(self, operation: Callable[[Unpack[Arguments]], Result], *args: *Arguments) -> Result:
        """Its result, or CoordinationError when `timeout` has passed. Then, or if cancelled, it may still take place.

        Cancelled while another operation has the thread: it does not.
        """
        end = time.monotonic() + self._timeout  # as the thread's library counts, whatever clock Trio has

        def run() -> Result:
            self._end = end
            return operation(*args)

        with trio.move_on_after(self._timeout):
            return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        raise CoordinationError(f"{self._store}: no answer within {self._timeout:g} s")

    def left(self) -> float:
        """In the thread: seconds until whoever asked for this operation stops waiting. TimeoutError: there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self._timeout:g} s")
        return left

    async def close(self, close: Callable[[], None]) -> None:
        """Run the last operation, also if cancelled. If the thread does not become free, the process's end does it."""
        with trio.move_on_after(self._timeout, shield=True):
            await trio.to_thread.run_sync(close, abandon_on_cancel=True, limiter=self._limiter)
