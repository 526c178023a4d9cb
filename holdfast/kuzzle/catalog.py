"""The controllers `index` and `collection`: which indexes and collections there are. Entries of the node's state."""

from contextlib import suppress
from typing import Any

from holdfast import Node, StateConflict
from holdfast.kuzzle.contents import Contents
from holdfast.kuzzle.errors import error
from holdfast.kuzzle.holdings import COLLECTION, INDEX, Holdings, owner_of
from holdfast.kuzzle.wire import Action, Request

_FORBIDDEN = frozenset('\\/*?"<>| \t\r\n,+#:%&.')  # as in Kuzzle; "/" parts our keys
_MAX_NAME_BYTES = 126


class Catalog:
    """What is created twice at the same moment is created once: by who sets the entry first."""

    def __init__(self, node: Node, holdings: Holdings, contents: Contents) -> None:
        self._contents = contents
        self._node = node
        self._holdings = holdings

    def actions(self) -> dict[str, dict[str, Action]]:
        """By controller and name."""
        return {
            "index": {"create": self.create_index, "exists": self.index_exists, "list": self.list_indexes},
            "collection": {
                "create": self.create_collection,
                "exists": self.collection_exists,
                "list": self.list_collections,
            },
        }

    def require(self, index: str, collection: str) -> None:
        """Refuse what has not been created."""
        if self._node.state.get(INDEX + index) is None:
            raise error("services.storage.unknown_index", index)
        if self._node.state.get(f"{COLLECTION}{index}/{collection}") is None:
            raise error("services.storage.unknown_collection", index, collection)

    async def create_index(self, request: Request) -> None:
        index = _valid(request.index, "services.storage.invalid_index_name")
        if await self._create(INDEX + index, request) != request.origin:
            raise error("services.storage.index_already_exists", "public", index)

    async def index_exists(self, request: Request) -> bool:
        return self._node.state.get(INDEX + request.index) is not None

    async def list_indexes(self, request: Request) -> dict[str, Any]:
        return {"indexes": sorted(self._contents.of(INDEX))}

    async def create_collection(self, request: Request) -> dict[str, bool]:
        """Creates the index too. There are no mappings: a body is accepted and ignored."""
        index = _valid(request.index, "services.storage.invalid_index_name")
        collection = _valid(request.collection, "services.storage.invalid_collection_name")
        for key in (INDEX + index, f"{COLLECTION}{index}/{collection}"):
            await self._create(key, request)
        return {"acknowledged": True}

    async def _create(self, key: str, request: Request) -> object:
        """Returns the origin of the request that has created it: this one, unless another was first."""
        if key not in self._node.state:
            created = {"origin": request.origin, "owner": owner_of(request)}
            self._holdings.require(created["owner"], key, created)
            with suppress(StateConflict):
                await self._node.state.set(key, created, if_absent=True)
        created = self._node.state.get(key)
        return created and created["origin"]

    async def collection_exists(self, request: Request) -> bool:
        return self._node.state.get(f"{COLLECTION}{request.index}/{request.collection}") is not None

    async def list_collections(self, request: Request) -> dict[str, Any]:
        names = sorted(self._contents.of(f"{COLLECTION}{request.index}/"))
        first, size = request.integer("from", 0), request.integer("size", 0) or len(names)
        found = [{"name": name, "type": "stored"} for name in names[first : first + size]]
        return {"collections": found, "from": first, "size": len(found), "type": "stored"}


def _valid(name: str, failure: str) -> str:
    is_bad = not name or name != name.lower() or name == "_all" or len(name.encode()) > _MAX_NAME_BYTES
    if is_bad or not _FORBIDDEN.isdisjoint(name):
        raise error(failure, name)
    return name
