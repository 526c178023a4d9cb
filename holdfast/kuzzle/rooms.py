"""The rooms: who has subscribed to what, as one node knows it. Pure; derived from the replicated state alone.

One entry of the state is one subscription, and it says all there is to know of its room. So a room is there as
long as somebody is in it, nothing has to be tidied up, and the same subscription made twice is one.

    kuzzle/subscription/ROOM/CLIENT/CHANNEL -> {index, collection, filter, volatile, origin}

ROOM is the hash of filter, index and collection; CLIENT is an id in hexadecimal; CHANNEL is the digits that say
which notifications of the room are wanted.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from holdfast.kuzzle.filters import Filter, from_json, matches

PREFIX = "kuzzle/subscription/"

# Kuzzle's digits: users, then 1 (told on all nodes), then scope. There "out" and "none" share 3, so that one who
# wants no news of users gets those of a neighbour on his channel; the default keeps its 3 and "out" is 4 here.
USERS = {"all": "1", "in": "2", "out": "4", "none": "3"}
SCOPES = {"all": "1", "in": "2", "out": "3", "none": ""}
ALL_DIGITS = [f"{users}1{scope}" for users in USERS.values() for scope in SCOPES.values()]


class Subscription(msgspec.Struct, frozen=True):
    """The value of an entry. `origin` is the request that made it: a redelivery of it is not a second one."""

    index: str
    collection: str
    filter: list[Any]
    volatile: dict[str, Any] | None = None
    origin: str = ""


class Change(NamedTuple):
    """A client came into a room ("in") or is gone from it ("out")."""

    user: str
    room: "Room"
    subscription: Subscription


class Member:
    """A client in a room. `origin`: the request that brought it in, by which the one to announce it is known."""

    __slots__ = ("origin", "subscriptions")

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.subscriptions: dict[str, Subscription] = {}  # by the digits of the channel


class Room:
    """All clients with one filter on one collection. `channels` counts them by what they want to hear."""

    __slots__ = ("channels", "collection", "filter", "id", "index", "members")

    def __init__(self, id: str, index: str, collection: str, filters: Filter) -> None:
        self.id = id
        self.index = index
        self.collection = collection
        self.filter = filters
        self.members: dict[int, Member] = {}
        self.channels: dict[str, int] = {}

    def channels_for_scope(self, scope: str) -> list[str]:
        """Names of the channels that want documents coming "in" or going "out"."""
        wanted = (SCOPES["all"], SCOPES[scope])
        return [f"{self.id}-{digits}" for digits in self.channels if digits[2:] in wanted]

    def channels_for_user(self, user: str) -> list[str]:
        """Names of the channels that want to know of users coming "in" or going "out"."""
        wanted = (USERS["all"], USERS[user])
        return [f"{self.id}-{digits}" for digits in self.channels if digits[0] in wanted]


class Rooms:
    """Every room, found by id and by collection. `apply` is told every change of the state, in order."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._by_collection: dict[tuple[str, str], dict[str, Room]] = {}

    def apply(self, key: str, value: dict[str, Any] | None) -> Change | None:
        """Take an entry of the state (value None: it is deleted). Tells when a client's first or last entry changed."""
        room_id, client_hex, digits = key.removeprefix(PREFIX).split("/")
        client = int(client_hex, 16)
        if value is None:
            return self._remove(room_id, client, digits)
        subscription = msgspec.convert(value, Subscription)
        room = self._rooms.get(room_id)
        if room is None:
            room = Room(room_id, subscription.index, subscription.collection, from_json(subscription.filter))
            self._rooms[room_id] = room
            self._by_collection.setdefault((room.index, room.collection), {})[room_id] = room
        member = room.members.get(client)
        is_new = member is None
        if member is None:
            member = room.members[client] = Member(subscription.origin)
        if digits not in member.subscriptions:
            room.channels[digits] = room.channels.get(digits, 0) + 1
        member.subscriptions[digits] = subscription
        return Change("in", room, subscription) if is_new else None

    def _remove(self, room_id: str, client: int, digits: str) -> Change | None:
        room = self._rooms.get(room_id)
        member = room.members.get(client) if room else None
        if room is None or member is None or digits not in member.subscriptions:
            return None
        subscription = member.subscriptions.pop(digits)
        room.channels[digits] -= 1
        if not room.channels[digits]:
            del room.channels[digits]
        if member.subscriptions:
            return None
        del room.members[client]
        if not room.members:
            del self._rooms[room_id]
            neighbours = self._by_collection[room.index, room.collection]
            del neighbours[room_id]
            if not neighbours:
                del self._by_collection[room.index, room.collection]
        return Change("out", room, subscription)

    def get(self, room_id: str) -> Room | None:
        return self._rooms.get(room_id)

    def count(self, room_id: str) -> int:
        """How many clients are in a room; 0 if there is none of that id."""
        room = self._rooms.get(room_id)
        return len(room.members) if room else 0

    def in_scope(self, index: str, collection: str, flat: Mapping[str, Any]) -> list[Room]:
        """The rooms whose filter a flattened document passes."""
        rooms = self._by_collection.get((index, collection), {})
        return [room for room in rooms.values() if matches(room.filter, flat)]

    def listing(self) -> dict[str, dict[str, dict[str, int]]]:
        """index -> collection -> room -> number of clients."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for room in self._rooms.values():
            found.setdefault(room.index, {}).setdefault(room.collection, {})[room.id] = len(room.members)
        return found


def entry_key(room_id: str, client: int, digits: str) -> str:
    return f"{PREFIX}{room_id}/{client:x}/{digits}"
