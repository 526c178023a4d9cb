"""Entries of the state that end by themselves: each says until when, and the master deletes it some time after that.

For what must be remembered a while and would otherwise pile up: revoked tokens.
"""

import time
from contextlib import suppress
from typing import Any

import trio

from holdfast import Node, StateConflict
from holdfast.kuzzle.time_slice import TimeSlice

PREFIX = "kuzzle/expiring/"
REVOKED = f"{PREFIX}revoked/"  # with the names of tokens that were logged out
SWEEP_INTERVAL = 5.0  # seconds; what is past its time is no longer seen, so this is only about memory
STRIDE = 1000  # keys of others that are passed over at a time


class Expiring:
    """`kuzzle/expiring/NAME -> {until, value}`, until in seconds since 1970."""

    def __init__(self, node: Node, time_slice: TimeSlice) -> None:
        self._time_slice = time_slice
        self._node = node
        node.on_master(self._sweep)

    def get(self, name: str) -> Any:  # noqa: ANN401
        """The value, or None if there is none or its time is over."""
        entry = self._node.state.get(PREFIX + name)
        return entry["value"] if entry is not None and time.time() < entry["until"] else None

    async def set(self, name: str, value: object, until: float) -> None:
        await self._node.state.set(PREFIX + name, {"until": until, "value": value})

    async def _sweep(self) -> None:
        """As master: on one node at a time."""
        while True:
            for number, key in enumerate(self._node.state):
                if not number % STRIDE:
                    await self._time_slice.turn()
                if not key.startswith(PREFIX):
                    continue
                await self._time_slice.turn()
                version, entry = self._node.state.version(key), self._node.state.get(key)
                if entry is not None and time.time() >= entry["until"]:
                    with suppress(StateConflict):  # it was set anew
                        await self._node.state.delete(key, if_version=version)
            await trio.sleep(SWEEP_INTERVAL)
