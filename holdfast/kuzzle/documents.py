"""The controller `document`: a small store in memory, the same on every node, with its notifications.

Documents are entries of the node's replicated state, so any node answers equally, and all nodes dying together lose
nothing while a proxy lives. Made for demonstrations, tests and small tables (the state has limits): a search looks
at every document of the collection. Writes to one document at the same time are made one after the other, each upon
what the one before has left.

A write that is delivered again, because its node died before it answered, is not done twice: a document knows the
request that wrote it and what it was before, so the second delivery answers and notifies as the first would have.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec
import trio

from holdfast import Node, StateConflict
from holdfast.kuzzle.catalog import Catalog
from holdfast.kuzzle.errors import error
from holdfast.kuzzle.expiring import Expiring
from holdfast.kuzzle.filters import flatten
from holdfast.kuzzle.holdings import DOCUMENT, Holdings, owner_of
from holdfast.kuzzle.pace import Pace
from holdfast.kuzzle.realtime import Realtime
from holdfast.kuzzle.search import criteria, find, query
from holdfast.kuzzle.wire import Action, Request

REMEMBERED_FOR = 60.0  # seconds a deletion is remembered; longer than any request is delivered again

_MAX_ID_BYTES = 512
_DEFAULT_SIZE = 10  # hits of a search, as in Kuzzle
MAX_SIZE = 10_000  # Kuzzle's limits.documentsFetchCount
MAX_PAGE_BYTES = 8 << 20  # of these hits as JSON; a proxy takes 16 MiB (node.max_frame_bytes)
MAX_SEARCHES = 4  # of one node at the same time: each may hold the ids and sort keys of a whole collection

Source = dict[str, Any]


class Document(msgspec.Struct, frozen=True):
    """The value of an entry. before: the content that the request `origin` replaced, None if there was none. owner:
    who counts as having it, the last who wrote it."""

    source: Source
    version: int
    origin: str
    before: Source | None = None
    owner: str = ""


class Documents:
    """catalog: whose collections are meant. holdings: how much there may be."""

    def __init__(
        self, node: Node, catalog: Catalog, realtime: Realtime, expiring: Expiring, holdings: Holdings, pace: Pace
    ) -> None:
        self._pace = pace
        self._searches = trio.CapacityLimiter(MAX_SEARCHES)
        self._holdings = holdings
        self._node = node
        self._catalog = catalog
        self._realtime = realtime
        self._expiring = expiring

    def actions(self) -> dict[str, Action]:
        return {
            "create": self.create,
            "createOrReplace": self.create_or_replace,
            "update": self.update,
            "replace": self.replace,
            "delete": self.delete,
            "get": self.get,
            "exists": self.exists,
            "search": self.search,
            "count": self.count,
        }

    # --- writing --------------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Source:
        id = request.document_id if request.args.get("_id") is not None else _new_id(request)
        content = {**request.object_body(), "_kuzzle_info": _created(request)}

        def change(stored: Document | None) -> Source:
            if stored is not None:
                raise error("services.storage.document_already_exists")
            return content

        document = await self._write(request, id, change)
        await self._notify(request, id, document)
        return _described(id, document)

    async def create_or_replace(self, request: Request) -> Source:
        id = request.document_id
        content = {**request.object_body(), "_kuzzle_info": _created(request) | _updated(request)}
        document = await self._write(request, id, lambda stored: content)
        await self._notify(request, id, document)
        return {**_described(id, document), "created": document.version == 1}

    async def replace(self, request: Request) -> Source:
        id = request.document_id
        content = {**request.object_body(), "_kuzzle_info": _created(request) | _updated(request)}

        def change(stored: Document | None) -> Source:
            self._required(request, id, stored)
            return content

        document = await self._write(request, id, change)
        await self._notify(request, id, document)
        return _described(id, document)

    async def update(self, request: Request) -> Source:
        """Merge the body into the document, objects into objects."""
        id = request.document_id
        changes = request.object_body()

        def change(stored: Document | None) -> Source:
            former = self._required(request, id, stored).source
            return _merged(former, {**changes, "_kuzzle_info": _updated(request)})

        document = await self._write(request, id, change)
        await self._notify(request, id, document, updated=_leaves(changes))
        if request.flag("source"):
            return _described(id, document)
        shown = {**changes, "_kuzzle_info": document.source["_kuzzle_info"]}
        return {"_id": id, "_source": shown, "_version": document.version}

    async def delete(self, request: Request) -> Source:
        id = request.document_id
        key, name = self._key(request, id), f"deleted/{request.origin}"
        self._realtime.require_turn(request)
        # Before the document goes, so that whoever does this again knows what it was, and does not delete a later one.
        deleted = self._expiring.get(name) if request.redelivered else None
        if deleted is None:
            deleted = await self._delete(request, id, key, name)
        else:
            with suppress(StateConflict):  # it was done
                await self._node.state.delete(key, if_version=deleted["stands"])
        found = {"_id": id, "_source": deleted["source"], "_version": deleted["version"]}
        if not request.flag("silent"):
            await self._realtime.notify_document(request, "delete", id, deleted["source"], None, found)
        return found if request.flag("source") else {"_id": id}

    async def _delete(self, request: Request, id: str, key: str, name: str) -> Source:
        """Returns what is remembered of it as `name`. stands: the version of the entry that goes."""
        async with self._node.state.turn(key):
            while True:
                stands = self._node.state.version(key)
                document = self._required(request, id, self._find(key))
                deleted = {"source": document.source, "version": document.version, "stands": stands}
                deleted["owner"] = owner_of(request)
                await self._expiring.set(name, deleted, time.time() + REMEMBERED_FOR)
                try:
                    await self._node.state.delete(key, if_version=stands)
                except StateConflict:
                    continue  # another node was faster
                return deleted

    async def _write(self, request: Request, id: str, change: Callable[[Document | None], Source]) -> Document:
        """Store what `change` makes of the present document, unless this request has done so already."""
        key = self._key(request, id)
        self._realtime.require_turn(request)

        def written(value: Source | None) -> Source:
            stored = None if value is None else msgspec.convert(value, Document)
            if value is not None and stored is not None and request.redelivered and stored.origin == request.origin:
                return value
            content = change(stored)
            before, version = (stored.source, stored.version) if stored else (None, 0)
            document = Document(content, version + 1, request.origin, before, owner_of(request))
            value = msgspec.to_builtins(document)
            self._holdings.require(document.owner, key, value)
            return value

        return msgspec.convert(await self._node.state.update(key, written), Document)

    async def _notify(self, request: Request, id: str, document: Document, updated: list[str] | None = None) -> None:
        if request.flag("silent"):
            return
        result = _described(id, document)
        if updated is not None:
            result["_updatedFields"] = updated
        action = request.action or ""
        if action == "createOrReplace":
            action = "create" if document.before is None else "replace"
        await self._realtime.notify_document(request, action, id, document.before, document.source, result)

    # --- reading --------------------------------------------------------------------------------------------------

    async def get(self, request: Request) -> Source:
        id = request.document_id
        return _described(id, self._required(request, id, self._find(self._key(request, id))))

    async def exists(self, request: Request) -> bool:
        return self._find(self._key(request, request.document_id)) is not None

    async def count(self, request: Request) -> dict[str, int]:
        return {"count": len(await self._found(request, None))}

    async def search(self, request: Request) -> dict[str, Any]:
        first, size = request.integer("from", 0), request.integer("size", _DEFAULT_SIZE)
        if first < 0 or size < 0:
            raise error("api.assert.invalid_argument", "from, size", "numbers from 0 on")
        if size > MAX_SIZE:
            raise error("services.storage.get_limit_exceeded")
        found = await self._found(request, request.optional_body().get("sort"))
        page = await self._page(request, found[first : first + size])
        return {"hits": page, "total": len(found), "fetched": len(page)}

    async def _found(self, request: Request, sort: object) -> list[str]:
        """Ids, in order."""
        filters = query(request.optional_body(), request.string("lang", "elasticsearch"))
        wanted = criteria(sort)
        async with self._searches:
            return await find(self._all(request), filters, wanted, self._pace)

    def _all(self, request: Request) -> Iterator[tuple[str, Source]]:
        """Read one after the other: all of them at once would take ten times what they take in the state."""
        prefix = self._key(request, "")
        for key in [key for key in self._node.state if key.startswith(prefix)]:
            document = self._find(key)
            if document is not None:
                yield key.removeprefix(prefix), document.source

    async def _page(self, request: Request, ids: list[str]) -> list[msgspec.Raw]:
        """What has gone since it was found is left out."""
        page: list[msgspec.Raw] = []
        prefix, left = self._key(request, ""), MAX_PAGE_BYTES
        for id in ids:
            await self._pace.turn()
            document = self._find(prefix + id)
            if document is None:
                continue
            hit = msgspec.json.encode(_described(id, document))
            left -= len(hit)
            if left < 0:
                raise error("services.storage.get_limit_exceeded")
            page.append(msgspec.Raw(hit))
        return page

    # ------------------------------------------------------------------------------------------------------------------

    def _key(self, request: Request, id: str) -> str:
        index, collection = request.index, request.collection
        self._catalog.require(index, collection)
        if len(id.encode()) > _MAX_ID_BYTES:
            raise error("api.assert.invalid_argument", "_id", f"at most {_MAX_ID_BYTES} bytes")
        return f"{DOCUMENT}{index}/{collection}/{id}"

    def _find(self, key: str) -> Document | None:
        stored = self._node.state.get(key)
        return None if stored is None else msgspec.convert(stored, Document)

    def _required(self, request: Request, id: str, document: Document | None) -> Document:
        if document is None:
            raise error("services.storage.not_found", id, request.index, request.collection)
        return document


def _described(id: str, document: Document) -> Source:
    return {"_id": id, "_source": document.source, "_version": document.version}


def _new_id(request: Request) -> str:
    """An id for a document without one: the same if the request is delivered again."""
    return urlsafe_b64encode(sha256(request.origin.encode()).digest()[:15]).decode().replace("_", "-")


def _created(request: Request) -> Source:
    return {"author": request.user, "createdAt": request.timestamp, "updatedAt": None, "updater": None}


def _updated(request: Request) -> Source:
    return {"updatedAt": request.timestamp, "updater": request.user}


def _merged(former: Source, changes: Source) -> Source:
    merged = {**former}
    for name, value in changes.items():
        there = merged.get(name)
        merged[name] = _merged(there, value) if isinstance(there, dict) and isinstance(value, dict) else value
    return merged


def _leaves(changes: Source) -> list[str]:
    """Dotted paths of the values that an update sets."""
    return sorted(path for path, value in flatten(changes).items() if not isinstance(value, dict))
