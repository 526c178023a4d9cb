"""The controller `document`: a small store in memory, the same on every node, with its notifications.

Documents are entries of the node's replicated state, so any node answers equally, and all nodes dying together lose
nothing while a proxy lives. Made for demonstrations, tests and small tables (the state has limits): a search looks
at every document of the collection. Writes to one document at the same time are made one after the other, each upon
what the one before has left.

A write that is delivered again, because its node died before it answered, is not done twice: a document's record knows
the requests that made its latest changes, so the second delivery writes nothing, and answers and notifies as the first
would have. Where it can't be known any more, the answer says so.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec
import trio

from holdfast import Node, StateConflict, StateRefused
from holdfast.kuzzle.catalog import Catalog
from holdfast.kuzzle.contents import Contents
from holdfast.kuzzle.errors import SizeLimitError, error
from holdfast.kuzzle.filters import flatten
from holdfast.kuzzle.holdings import DOCUMENT, Holdings, owner_of
from holdfast.kuzzle.realtime import Realtime
from holdfast.kuzzle.record import NONE, Record, Source, Written
from holdfast.kuzzle.search import Criterion, Hit, criteria, find, query
from holdfast.kuzzle.time_slice import TimeSlice
from holdfast.kuzzle.wire import Action, Request

_MAX_ID_BYTES = 512
_DEFAULT_SIZE = 10  # hits of a search, as in Kuzzle
MAX_SIZE = 10_000  # Kuzzle's limits.documentsFetchCount
MAX_PAGE_BYTES = 8 << 20  # of these hits as JSON; a proxy takes 16 MiB (node.max_frame_bytes)
MAX_SEARCHES = 4  # of one node at the same time: each may hold the ids and sort keys of a whole collection


class Documents:
    """catalog: whose collections are meant. holdings: how much there may be. contents: what there is."""

    def __init__(
        self,
        node: Node,
        catalog: Catalog,
        realtime: Realtime,
        holdings: Holdings,
        contents: Contents,
        time_slice: TimeSlice,
    ) -> None:
        self._contents = contents
        self._time_slice = time_slice
        self._searches = trio.CapacityLimiter(MAX_SEARCHES)
        self._holdings = holdings
        self._node = node
        self._catalog = catalog
        self._realtime = realtime

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

        def change(former: Source | None) -> Source:
            if former is not None:
                raise error("services.storage.document_already_exists")
            return content

        written = await self._write(request, id, change)
        return await self._notify(request, id, written)

    async def create_or_replace(self, request: Request) -> Source:
        id = request.document_id
        content = {**request.object_body(), "_kuzzle_info": _created(request) | _updated(request)}
        written = await self._write(request, id, lambda former: content)
        is_created = written.before is None
        result = await self._notify(request, id, written, action="create" if is_created else "replace")
        return {**result, "created": is_created}

    async def replace(self, request: Request) -> Source:
        id = request.document_id
        content = {**request.object_body(), "_kuzzle_info": _created(request) | _updated(request)}

        def change(former: Source | None) -> Source:
            self._required(request, id, former)
            return content

        written = await self._write(request, id, change)
        return await self._notify(request, id, written)

    async def update(self, request: Request) -> Source:
        """Merge the body into the document, objects into objects."""
        id = request.document_id
        changes = request.object_body()

        def change(former: Source | None) -> Source:
            return _merged(self._required(request, id, former), {**changes, "_kuzzle_info": _updated(request)})

        written = await self._write(request, id, change)
        result = await self._notify(request, id, written, _updatedFields=_leaves(changes))
        if request.flag("source"):
            return result
        shown = {**changes, "_kuzzle_info": result["_source"]["_kuzzle_info"]}
        return {**result, "_source": shown}

    async def delete(self, request: Request) -> Source:
        id = request.document_id

        def change(former: Source | None) -> None:
            self._required(request, id, former)

        result = await self._notify(request, id, await self._write(request, id, change))
        return result if request.flag("source") else {"_id": id}

    async def _write(self, request: Request, id: str, change: Callable[[Source | None], Source | None]) -> Written:
        """Store what `change` makes of the present content, None: nothing, unless this request has done so already."""
        key = self._key(request, id)
        self._realtime.require_turn(request)
        async with self._node.state.turn(key):
            while True:
                stands, record = self._node.state.version(key), self._record(key)
                written = record.made_by(request.origin)
                if written is not None:
                    return written
                now = time.time()
                if request.redelivered and record.lost > now:
                    raise error("services.storage.too_many_changes", id)
                content = change(record.source)
                owner = record.owner if content is None else owner_of(request)
                record = record.changed(content, owner, request.origin, request.until, now)
                with suppress(StateConflict):  # another node was faster
                    await self._store(key, record, stands)
                    return record.last

    async def _store(self, key: str, record: Record, stands: int) -> None:
        """What is remembered refuses nobody: who has no room for it has less of it."""
        try:
            await self._set(key, record, stands)
        except (SizeLimitError, StateRefused):
            await self._set(key, record.forgetful(), stands)

    async def _set(self, key: str, record: Record, stands: int) -> None:
        value = msgspec.to_builtins(record)
        if record.source is not None:
            self._holdings.require(record.owner, key, value)
        await self._node.state.set(key, value, if_version=stands)

    async def _notify(
        self, request: Request, id: str, written: Written, *, action: str | None = None, **more: object
    ) -> Source:
        """Returns what is said of the document. action: if the request's own does not say it. more: is told as well."""
        before, after = written.before, written.after
        result = _described(id, before if after is None else after, written.version)
        if not request.flag("silent"):
            action = action or request.action or ""
            await self._realtime.notify_document(request, action, id, before, after, {**result, **more})
        return result

    # --- reading --------------------------------------------------------------------------------------------------

    async def get(self, request: Request) -> Source:
        id = request.document_id
        record = self._record(self._key(request, id))
        return _described(id, self._required(request, id, record.source), record.version)

    async def exists(self, request: Request) -> bool:
        return self._record(self._key(request, request.document_id)).source is not None

    async def count(self, request: Request) -> dict[str, int]:
        return {"count": len(await self._found(request, order=None))}

    async def search(self, request: Request) -> dict[str, Any]:
        first, size = request.integer("from", 0), request.integer("size", _DEFAULT_SIZE)
        if first < 0 or size < 0:
            raise error("api.assert.invalid_argument", "from, size", "numbers from 0 on")
        if size > MAX_SIZE:
            raise error("services.storage.get_limit_exceeded")
        found = await self._found(request, criteria(request.optional_body().get("sort")))
        page = await self._page(request, [hit.id for hit in found[first : first + size]])
        return {"hits": page, "total": len(found), "fetched": len(page)}

    async def _found(self, request: Request, order: Sequence[Criterion] | None) -> list[Hit]:
        filters = query(request.optional_body(), request.string("lang", "elasticsearch"))
        async with self._searches:
            return await find(self._all(request), filters, order, self._time_slice)

    def _all(self, request: Request) -> Iterator[tuple[str, Source | None]]:
        """Read one after the other: all of them at once would take ten times what they take in the state."""
        prefix = self._key(request, "")
        for id in self._contents.of(prefix):
            yield id, self._record(prefix + id).source

    async def _page(self, request: Request, ids: list[str]) -> list[msgspec.Raw]:
        """What has gone since it was found is left out."""
        page: list[msgspec.Raw] = []
        prefix, left = self._key(request, ""), MAX_PAGE_BYTES
        for id in ids:
            await self._time_slice.turn()
            record = self._record(prefix + id)
            if record.source is None:
                continue
            hit = msgspec.json.encode(_described(id, record.source, record.version))
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

    def _record(self, key: str) -> Record:
        stored = self._node.state.get(key)
        return NONE if stored is None else msgspec.convert(stored, Record)

    def _required(self, request: Request, id: str, source: Source | None) -> Source:
        if source is None:
            raise error("services.storage.not_found", id, request.index, request.collection)
        return source


def _described(id: str, source: Source | None, version: int) -> Source:
    return {"_id": id, "_source": source, "_version": version}


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
