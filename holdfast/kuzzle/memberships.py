"""Memberships: who has an entry in a room is in its channel, and nobody else, whoever changes both at the same time.

The entry is in the replicated state, which has one order of all changes; the channel is at the client's proxy, and what
several nodes do there comes in any order, also long after the node has given up its request, or has died. So the order
of the entry is that of the channel: each join and leave bears the version of the entry that it belongs to, and the
proxy lets none undo what belongs to a later one (see protocols.nodes.effects.Join). Whoever comes makes the entry and
then joins by its version. Whoever ends it leaves by the version that he has read, and deletes the entry if it has that
one still; if not, somebody has come anew, and stays.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress

import msgspec

from holdfast import Node, StateConflict
from holdfast.kuzzle.rooms import PREFIX, Subscription, channel_of, parts_of

Flush = Callable[[], Awaitable[None]]


class Memberships:
    def __init__(self, node: Node) -> None:
        self._node = node

    def turn(self, client: int) -> AbstractAsyncContextManager[None]:
        """`async with`: nobody else at this node changes subscriptions of this client. As `State.turn`."""
        return self._node.state.turn(f"{PREFIX}of/{client:x}")

    async def enter(self, key: str, subscription: Subscription, is_over: Callable[[], bool], flush: Flush) -> None:
        """Make the entry, and have its client join. In a turn of the client.

        is_over: asked when the entry is there; if so it is ended again. flush: waits until what the node did to
        channels is done. Raises as `State.set` does. Then, or if it is cancelled, a client may have an entry and not be
        in its channel: by that it can leave.
        """
        state = self._node.state
        _, client, _ = parts_of(key)
        made = await state.set(key, msgspec.to_builtins(subscription), client)
        if is_over():
            await self._end({key: made}, flush)
        elif version := state.version(key):  # 0: it was ended, and `made` may be a later one, by which it would stay
            await self._node.join(client, channel_of(key), version=version)
            await flush()

    async def end(self, keys: Iterable[str], flush: Flush) -> None:
        """Have their clients leave, then delete the entries. In a turn of each client. Raises as `State.delete` does.
        What is made anew from now on stays.

        flush: as for `enter`, so that nobody hears anything after he was told that he is out. Nothing else needs it.
        """
        await self._end({key: version for key in keys if (version := self._node.state.version(key))}, flush)

    async def _end(self, versions: dict[str, int], flush: Flush) -> None:
        for key, version in versions.items():
            _, client, _ = parts_of(key)
            await self._node.leave(client, channel_of(key), version=version)
        await flush()
        for key, version in versions.items():
            with suppress(StateConflict):
                await self._node.state.delete(key, if_version=version)
