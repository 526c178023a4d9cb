"""Records fade: the master ends what a document's record remembers when no request can come again that it speaks of.

A deleted document's record goes, and one that was changed keeps its content alone. What is over is no longer asked for,
so this is only about memory.
"""

import time
from contextlib import suppress
from typing import Any

import msgspec
import trio

from holdfast import Node, StateConflict
from holdfast.kuzzle.holdings import DOCUMENT
from holdfast.kuzzle.record import Record
from holdfast.kuzzle.time_slice import TimeSlice

SWEEP_INTERVAL = 5.0  # seconds


class Fading:
    """Every node follows the state, so whichever is master next knows what is due without looking at all documents."""

    def __init__(self, node: Node, time_slice: TimeSlice) -> None:
        self._time_slice = time_slice
        self._node = node
        self._due: dict[str, float] = {}  # key -> when there is something to end, in seconds since 1970
        node.on_state(self._follow, inline=True)
        node.on_master(self._sweep)

    def _follow(self, key: str, value: Any) -> None:  # noqa: ANN401 - any JSON
        if not key.startswith(DOCUMENT):
            return
        record = None if value is None else msgspec.convert(value, Record)
        if record is None or record.is_bare:
            self._due.pop(key, None)
        else:
            self._due[key] = record.until

    async def _sweep(self) -> None:
        """As master: on one node at a time."""
        while True:
            now = time.time()
            for key in [key for key, until in self._due.items() if until <= now]:
                await self._time_slice.turn()
                await self._fade(key, now)
            await trio.sleep(SWEEP_INTERVAL)

    async def _fade(self, key: str, now: float) -> None:
        state = self._node.state
        stands, value = state.version(key), state.get(key)
        if value is None:  # gone, or another state
            self._due.pop(key, None)
            return
        record = msgspec.convert(value, Record)
        faded = record.faded(now)
        with suppress(StateConflict):  # it was changed
            if faded is None:
                await state.delete(key, if_version=stands)
            elif faded is not record:
                await state.set(key, msgspec.to_builtins(faded), if_version=stands)
