"""Functions of the node's author that are told of what happens: on_open, on_close, on_state.

They are called one after another, in order, in a task of their own, so that none holds up a link. Of plain ones many
in a row are called in one visit to a thread, which is theirs: they don't wait for handlers. One that was registered
with `inline=True` is called at once, before anything else happens; if that only begins something, the rest is awaited
in the task. The queue has no limit of its own, because the stream must be complete: it is as long as they lag, which
Node.statistics() shows. What is to be told of clients waits until the node has the state for the first time, because
functions look at it. What a function raises is logged, and the next is called.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import trio

from holdfast.node.failures import Failures
from holdfast.node.function import Function, check_result
from holdfast.node.raised import guarded, is_awaitable
from holdfast.node.threads import Threads

BURST = 1000  # plain calls that one visit to the thread does at most: a state may have a million keys


Call = tuple[Function | None, tuple[Any, ...]]  # None: a function of ours, the only argument


class Callbacks:
    """len(): calls that have not returned yet."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._threads = Threads(1)
        self._queue: deque[Call] = deque()  # the first one is being called
        self._held: deque[tuple[Function, tuple[Any, ...]]] | None = deque()  # until there is a state
        self._filled = trio.Event()

    def __len__(self) -> int:
        return len(self._queue) + len(self._held or ())

    def call(self, callbacks: Iterable[Function], *arguments: Any) -> None:  # noqa: ANN401 - the author's
        """Call each: an inline one now, another when all before it have returned."""
        for callback in callbacks:
            if callback.is_inline:
                self._call_now(callback, arguments)
            else:
                self._put(callback, arguments)

    def call_with_state(self, callbacks: Iterable[Function], *arguments: Any) -> None:  # noqa: ANN401
        """The same, but not before the node has the state."""
        if self._held is None:
            self.call(callbacks, *arguments)
        else:
            self._held.extend((callback, arguments) for callback in callbacks)

    def release(self) -> None:
        """The node has the state."""
        held, self._held = self._held, None
        for callback, arguments in held or ():
            self.call((callback,), *arguments)

    def after(self, function: Callable[[], None]) -> None:
        """Call a function of ours when all that were to be called have returned: now, if none waits."""
        if self._queue:
            self._put(None, (function,))
        else:
            function()

    def _put(self, callback: Function | None, arguments: tuple[Any, ...]) -> None:
        self._queue.append((callback, arguments))
        self._filled.set()

    async def run(self) -> None:
        queue = self._queue
        while True:
            await self._filled.wait()
            while queue:
                callback, arguments = queue[0]
                done = 1
                if callback is None:
                    arguments[0]()
                elif callback.needs_thread:
                    done = await self._call_in_thread()
                else:
                    await self._finish(callback, self._begin(callback, arguments))
                for _ in range(done):
                    queue.popleft()
                await trio.lowlevel.checkpoint()
            self._filled = trio.Event()

    async def _call_in_thread(self) -> int:
        """The plain ones that are in front. Returns how many have returned."""
        calls: list[tuple[Function, tuple[Any, ...]]] = []
        for callback, arguments in islice(self._queue, BURST):
            if callback is None or not callback.needs_thread:
                break
            calls.append((callback, arguments))
        done, rest = await self._threads.run(self._begin_some, calls)
        await self._finish(calls[done - 1][0], rest)
        return int(done)

    def _begin_some(self, calls: list[tuple[Function, tuple[Any, ...]]]) -> tuple[int, object]:
        """In the thread. Up to one that has only begun, and what is left to await of it."""
        for done, (callback, arguments) in enumerate(calls, 1):
            result = self._begin(callback, arguments)
            if is_awaitable(result):
                return done, result
        return len(calls), None

    def _call_now(self, callback: Function, arguments: tuple[Any, ...]) -> None:
        result = self._begin(callback, arguments)
        if is_awaitable(result):
            self._put(Function(lambda: result, inline=True), ())

    def _begin(self, callback: Function, arguments: tuple[Any, ...]) -> object:
        """The guard of what a call does at once."""
        try:
            result: object = callback.begin(*arguments)
            if result is not None:
                check_result(callback.function, result)
            return result
        except BaseException:  # not around each call: that costs 0.5 us, and this nothing
            with guarded(partial(self._failures.callback, callback)):
                raise
            return None

    async def _finish(self, callback: Function, result: object) -> None:
        """The guard of what is awaited of it."""
        if not is_awaitable(result):
            return
        with guarded(partial(self._failures.callback, callback)):
            await result
