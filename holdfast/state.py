"""`node.state`: what all nodes share, as a mapping of keys to JSON-like values.

Every node has all of it. Changes are put in one order by the master, so all nodes see the same changes in the same
order; what is read is what this node has applied, which may be a moment old. Entries outlive nodes; with an owner they
end when that client goes.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast.clients import Clients
from holdfast.effects import check_text, id_of
from holdfast.errors import StateError
from holdfast.replica import Replica
from holdfast.request import Client

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode


class State:
    """Values are None-free at the top level and what msgpack can say: str, bytes, numbers, bools, lists, dicts.

    Each reading gives a fresh object: changing it changes nothing here.
    """

    def __init__(self, replica: Replica, clients: Clients) -> None:
        self._replica = replica
        self._clients = clients

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - values are the author's
        return decode(self._replica.view.items[key].value)

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        item = self._replica.view.items.get(key)
        return default if item is None else decode(item.value)

    def __contains__(self, key: object) -> bool:
        return key in self._replica.view.items

    def __len__(self) -> int:
        return len(self._replica.view.items)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._replica.view.items))

    def items(self, prefix: str = "") -> list[tuple[str, Any]]:
        """Keys that begin with `prefix` and their values, in no order that means anything."""
        items = self._replica.view.items.values()
        return [(item.key, decode(item.value)) for item in items if item.key.startswith(prefix)]

    async def set(self, key: str, value: Any, owner: Client | int | None = None) -> None:  # noqa: ANN401
        """Set a key. Returns when this node has applied it; other nodes have by then, or will in a moment.

        owner: a client of `node.clients` (not of a single HTTP request); when it goes, so does the entry.
        Raises StateError if a limit of the proxy refuses it, if the owner has gone, or if no master put it in order
        within 10 s: then it may still come. Raises TypeError for what msgpack can't say. If it is cancelled, it may
        or may not have been done.
        """
        if value is None:
            raise TypeError("None can't be a value: delete the key")
        owner_id = 0 if owner is None else id_of(owner)
        if owner is not None and owner_id not in self._clients:
            raise StateError(f"client {owner_id} can't own a key: it has gone, or has no session")
        await self._replica.propose(check_text(key), encode(value), owner_id)

    async def delete(self, key: str) -> None:
        """Delete a key. Nothing happens if there is none. Returns and raises as `set` does."""
        await self._replica.propose(check_text(key), None, 0)
