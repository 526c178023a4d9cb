"""Memberships: who has an entry in a room is in its channel, and nobody else, whoever changes both at the same time.

The entry is in the replicated state, the channel at the client's proxy, and any node may change both. So all do it
in one way: read the version of the entry, change the channel, wait until that is done, and change the entry if it still
has that version; if not, do it all again. Whoever is the last to change the entry has been the last at the channel.
Where there is no entry one is made before the channel is joined, and confirmed after it: who ends subscriptions
meanwhile finds it, and this node notices. The changes of one client take turns at a node.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple

import msgspec

from holdfast import Node, StateConflict
from holdfast.kuzzle.rooms import PREFIX, Subscription, channel_of, parts_of

Wanted = Callable[[Subscription | None], Subscription | None]
Flush = Callable[[], Awaitable[None]]


class _Move(NamedTuple):
    """What was done to a channel; value is the entry that is to say so. stands: the version of the present one."""

    key: str
    stands: int
    value: Subscription | None


class Memberships:
    def __init__(self, node: Node) -> None:
        self._node = node

    def turn(self, client: int) -> AbstractAsyncContextManager[None]:
        """`async with`: nobody else at this node changes subscriptions of this client. As `State.turn`."""
        return self._node.state.turn(f"{PREFIX}of/{client:x}")

    async def settle(
        self, keys: Iterable[str], wanted: Wanted, flush: Flush, joined: Subscription | None = None
    ) -> None:
        """Make entries what is wanted, None: no entry, and have their clients join or leave. In a turn of each client.

        wanted: given what there is. Asked anew after each change of others, and of ours. flush: waits until what the
        node did to channels is done. joined: by this one a lost node may have joined for us. Raises as `State.set`
        does. Then, or if it is cancelled, a client may have an entry and not be in its channel: by that it can leave.
        Only who is cancelled just after another node has ended what it was joining leaves a channel without an entry.
        """
        left = dict.fromkeys(keys, joined)
        while left:
            moves = [await self._move(key, wanted, joined) for key, joined in left.items()]
            await flush()
            left = {move.key: move.value for move in moves if not await self._keep(move, wanted)}

    async def _move(self, key: str, wanted: Wanted, joined: Subscription | None) -> _Move:
        """joined: by us, and then the entry had been changed."""
        state = self._node.state
        while True:
            stands, present = state.version(key), state.get(key)
            value = wanted(None if present is None else msgspec.convert(present, Subscription))
            made = value or joined  # also to leave: without an entry others may join at the same time
            if stands or made is None:
                break
            with suppress(StateConflict):
                stands = await self._set(key, made, 0)
                break
        if stands:
            _, client, _ = parts_of(key)
            await (self._node.leave if value is None else self._node.join)(client, channel_of(key))
        return _Move(key, stands, value)

    async def _keep(self, move: _Move, wanted: Wanted) -> bool:
        """Whether the entry is what is wanted now, as the channel is."""
        key, stands, value = move
        try:
            if value is not None:
                await self._set(key, value, stands)
            elif stands:
                await self._node.state.delete(key, if_version=stands)
        except StateConflict:
            return False
        return value is None or wanted(value) is not None

    async def _set(self, key: str, value: Subscription, if_version: int) -> int:
        _, client, _ = parts_of(key)
        return await self._node.state.set(key, msgspec.to_builtins(value), client, if_version=if_version)
