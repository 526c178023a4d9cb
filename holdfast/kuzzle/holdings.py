"""What the documents of clients take of the replicated state, of each client and of all, and how much they may.

Derived from the state alone, so every node refuses alike, and what one node has refused another one does not take.
Counted are documents with what is remembered of their changes, indexes, collections, and deletions while they are
remembered, as the former owner's: else who deletes and creates in turn would fill the state all the same. Refuses only
what makes it more; a deletion is never refused.

A client is the user who is logged in, or else the connection; anonymous requests over HTTP are one client together,
since each has a connection of its own to the eyes of a node. What anonymous ones write stays when they have gone, and
they may come again as somebody else, so they have a share together, and users the rest.
"""

from typing import Any

import msgspec
from msgspec import Struct

from holdfast import Node
from holdfast.kuzzle.errors import error
from holdfast.kuzzle.wire import ANONYMOUS, Request

DOCUMENT = "kuzzle/document/"
INDEX = "kuzzle/index/"
COLLECTION = "kuzzle/collection/"


class Quota(Struct, frozen=True):
    """So many documents, and bytes of them as JSON with their latest changes: of all clients, of each, and of those
    together who have not logged in."""

    max_documents: int = 100_000
    max_bytes: int = 128 << 20  # half of what the state may have by default
    max_documents_of_client: int = 10_000
    max_bytes_of_client: int = 16 << 20
    max_documents_of_anonymous: int = 50_000
    max_bytes_of_anonymous: int = 64 << 20


class _Held:
    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        self.count = self.bytes = 0


_NOTHING = _Held()


class Holdings:
    """Follows the state. What is on its way at the same moment is not seen, and may pass the limits."""

    def __init__(self, node: Node, quota: Quota) -> None:
        self._quota = quota
        self._entries: dict[str, tuple[str, int]] = {}  # key -> owner and bytes
        self._of_owner: dict[str, _Held] = {}
        self._of_all = _Held()
        self._of_anonymous = _Held()
        node.on_state(self._follow, inline=True)

    def require(self, owner: str, key: str, value: object) -> None:
        """Refuse an entry for which there is no room."""
        size = _size(key, value)
        former_owner, former = self._entries.get(key, ("", 0))
        if former_owner == owner and size <= former:
            return
        quota, held = self._quota, self._of_owner.get(owner, _NOTHING)
        groups = [  # each with whether the former entry counts in it
            (self._of_all, former_owner != "", quota.max_documents, quota.max_bytes),
            (held, former_owner == owner, quota.max_documents_of_client, quota.max_bytes_of_client),
        ]
        if _is_anonymous(owner):
            most, most_bytes = quota.max_documents_of_anonymous, quota.max_bytes_of_anonymous
            groups.append((self._of_anonymous, _is_anonymous(former_owner), most, most_bytes))
        for held, is_in, most, most_bytes in groups:
            if held.count + (not is_in) > most or held.bytes + size - (former if is_in else 0) > most_bytes:
                raise error("services.storage.write_limit_exceeded")

    def _follow(self, key: str, value: Any) -> None:  # noqa: ANN401 - any JSON
        owner = "" if value is None else _owner(key, value)
        former_owner, former = self._entries.pop(key, ("", 0))
        if former_owner:
            self._count(former_owner, -1, -former)
        if owner:
            size = _size(key, value)
            self._entries[key] = owner, size
            self._count(owner, 1, size)

    def _count(self, owner: str, entries: int, size: int) -> None:
        held = self._of_owner.setdefault(owner, _Held())
        for each in (held, self._of_all, *([self._of_anonymous] if _is_anonymous(owner) else [])):
            each.count += entries
            each.bytes += size
        if not held.count:
            del self._of_owner[owner]


def owner_of(request: Request) -> str:
    """Whose it is what the request writes."""
    if request.user != ANONYMOUS:
        return f"user {request.user}"
    return "http" if request.protocol == "http" else f"client {request.client:x}"


def _is_anonymous(owner: str) -> bool:
    return owner != "" and not owner.startswith("user ")


def _owner(key: str, value: Any) -> str:  # noqa: ANN401
    """Whose the entry is; "": it is none of those that are counted."""
    if key.startswith(DOCUMENT):
        return value.get("owner") or "nobody"
    return value["owner"] if key.startswith((INDEX, COLLECTION)) else ""


def _size(key: str, value: object) -> int:
    return len(key) + len(msgspec.json.encode(value))
