"""The rooms: who has subscribed to what, as one node knows it. Pure; derived from the replicated state alone.

One entry of the state is one subscription, and it says all there is to know of its room. So a room is there as
long as somebody is in it, nothing has to be tidied up, and the same subscription made twice is one.

    kuzzle/subscription/ROOM/CLIENT/CHANNEL -> {index, collection, filter, volatile, origin, token, token_ends}

ROOM is the hash of filter, index and collection; CLIENT is an id in hexadecimal; CHANNEL is the digits that say
which notifications of the room are wanted. What one client, and all of them, may have here is bounded: each entry is in
the memory of every node, and each condition of a collection's rooms is looked at for each of its messages.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

import msgspec

from holdfast.kuzzle.filters import Filter, conditions_of, flatten, from_json, matches

PREFIX = "kuzzle/subscription/"

# Kuzzle's digits: users, then 1 (told on all nodes), then scope. There "out" and "none" share 3, so that one who
# wants no news of users gets those of a neighbour on his channel; the default keeps its 3 and "out" is 4 here.
USERS = {"all": "1", "in": "2", "out": "4", "none": "3"}
SCOPES = {"all": "1", "in": "2", "out": "3", "none": ""}


class Subscription(msgspec.Struct, frozen=True):
    """The value of an entry. `origin` is the request that made it: a redelivery of it is not a second one.

    token, token_ends: the name of the token that it was made with, "" if there was none, and its end, in seconds since
    1970. The subscription has no longer life.
    """

    index: str
    collection: str
    filter: list[Any]
    volatile: dict[str, Any] | None = None
    origin: str = ""
    token: str = ""
    token_ends: float = 0.0


class Load:
    """Subscriptions of a client, or of all: how many, and how many conditions and bytes are in them."""

    __slots__ = ("bytes", "conditions", "count")

    def __init__(self, count: int = 0, conditions: int = 0, bytes: int = 0) -> None:
        self.count = count
        self.conditions = conditions
        self.bytes = bytes

    def add(self, other: "Load", sign: int = 1) -> None:
        self.count += sign * other.count
        self.conditions += sign * other.conditions
        self.bytes += sign * other.bytes

    def exceeds(self, limit: "Load", more: "Load") -> bool:
        """Whether it is above the limit with `more`."""
        return (
            self.count + more.count > limit.count
            or self.conditions + more.conditions > limit.conditions
            or self.bytes + more.bytes > limit.bytes
        )


MOST_OF_CLIENT = Load(200, 1000, 256 << 10)
MOST_OF_ALL = Load(100_000, 400_000, 64 << 20)
MOST_OF_COLLECTION = 20_000  # conditions of different rooms: to look at so many takes some 10 ms, for each message


NOTHING_YET = Load()


def load_of(subscription: Subscription) -> Load:
    conditions = conditions_of(tuple(subscription.filter))
    return Load(1, conditions, len(msgspec.json.encode(subscription)))


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
        self._conditions: dict[tuple[str, str], int] = {}  # of the rooms of a collection
        self._of_client: dict[int, Load] = {}
        self._of_all = Load()
        self._with_token: dict[str, Subscription] = {}  # by key

    def apply(self, key: str, value: dict[str, Any] | None) -> Change | None:
        """Take an entry of the state (value None: it is deleted). Tells when a client's first or last entry changed."""
        room_id, client, digits = parts_of(key)
        if value is None:
            return self._remove(room_id, client, digits)
        subscription = msgspec.convert(value, Subscription)
        room = self._rooms.get(room_id)
        if room is None:
            room = Room(room_id, subscription.index, subscription.collection, from_json(subscription.filter))
            self._rooms[room_id] = room
            place = room.index, room.collection
            self._by_collection.setdefault(place, {})[room_id] = room
            self._conditions[place] = self._conditions.get(place, 0) + conditions_of(room.filter)
        member = room.members.get(client)
        is_new = member is None
        if member is None:
            member = room.members[client] = Member(subscription.origin)
        former = member.subscriptions.get(digits)
        if former is None:
            room.channels[digits] = room.channels.get(digits, 0) + 1
        else:
            self._count(client, former, -1)
        member.subscriptions[digits] = subscription
        self._count(client, subscription, 1)
        self._with_token.pop(key, None)
        if subscription.token:
            self._with_token[key] = subscription
        return Change("in", room, subscription) if is_new else None

    def _remove(self, room_id: str, client: int, digits: str) -> Change | None:
        room = self._rooms.get(room_id)
        member = room.members.get(client) if room else None
        if room is None or member is None or digits not in member.subscriptions:
            return None
        subscription = member.subscriptions.pop(digits)
        self._count(client, subscription, -1)
        self._with_token.pop(entry_key(room_id, client, digits), None)
        room.channels[digits] -= 1
        if not room.channels[digits]:
            del room.channels[digits]
        if member.subscriptions:
            return None
        del room.members[client]
        if not room.members:
            del self._rooms[room_id]
            place = room.index, room.collection
            neighbours = self._by_collection[place]
            del neighbours[room_id]
            self._conditions[place] -= conditions_of(room.filter)
            if not neighbours:
                del self._by_collection[place], self._conditions[place]
        return Change("out", room, subscription)

    def _count(self, client: int, subscription: Subscription, sign: int) -> None:
        load = load_of(subscription)
        self._of_all.add(load, sign)
        of_client = self._of_client.setdefault(client, Load())
        of_client.add(load, sign)
        if not of_client.count:
            del self._of_client[client]

    def has_room_for(self, room_id: str, client: int, subscription: Subscription) -> bool:
        """Whether limits allow one more. What is on its way at the same moment is not seen, and may pass them."""
        load = load_of(subscription)
        if self._of_all.exceeds(MOST_OF_ALL, load):
            return False
        if self._of_client.get(client, NOTHING_YET).exceeds(MOST_OF_CLIENT, load):
            return False
        present = self._conditions.get((subscription.index, subscription.collection), 0)
        return room_id in self._rooms or present + load.conditions <= MOST_OF_COLLECTION

    def with_token(self, token: str) -> list[str]:
        """Keys of the subscriptions that were made with it."""
        return [key for key, subscription in self._with_token.items() if subscription.token == token]

    def token_of(self, key: str) -> str:
        """The name of the token that a subscription was made with; "" if there was none, or is no such subscription."""
        subscription = self._with_token.get(key)
        return subscription.token if subscription else ""

    def ended(self, now: float, revoked: Set[str]) -> list[str]:
        """Keys of the subscriptions whose token has ended, or is one of those revoked."""
        return [
            key
            for key, subscription in self._with_token.items()
            if now >= subscription.token_ends or subscription.token in revoked
        ]

    def get(self, room_id: str) -> Room | None:
        return self._rooms.get(room_id)

    def count(self, room_id: str) -> int:
        """How many clients are in a room; 0 if there is none of that id."""
        room = self._rooms.get(room_id)
        return len(room.members) if room else 0

    def in_scope(self, index: str, collection: str, document: Mapping[str, Any]) -> list[Room]:
        """The rooms whose filter a document passes."""
        rooms = self._by_collection.get((index, collection))
        if not rooms:
            return []
        flat = flatten(document)
        return [room for room in rooms.values() if matches(room.filter, flat)]

    def listing(self) -> dict[str, dict[str, dict[str, int]]]:
        """index -> collection -> room -> number of clients."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for room in self._rooms.values():
            found.setdefault(room.index, {}).setdefault(room.collection, {})[room.id] = len(room.members)
        return found


def by_client(keys: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for key in keys:
        found.setdefault(parts_of(key)[1], []).append(key)
    return found


def parts_of(key: str) -> tuple[str, int, str]:
    """Room, client and digits of `entry_key`."""
    room_id, client_hex, digits = key.removeprefix(PREFIX).split("/")
    return room_id, int(client_hex, 16), digits


def entry_key(room_id: str, client: int, digits: str) -> str:
    return f"{PREFIX}{room_id}/{client:x}/{digits}"


def channel_of(key: str) -> str:
    """The channel that the client of an entry is in by it."""
    room_id, _, digits = key.removeprefix(PREFIX).split("/")
    return f"{room_id}-{digits}"
