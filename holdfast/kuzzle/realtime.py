"""The controller `realtime`: subscribe, join, unsubscribe, publish, count and list; and who is notified of what.

Subscriptions live in the node's replicated state (see `rooms`), so any node can evaluate any message and name the
channels; the proxy knows who is in a channel: the same clients (see `memberships`). A subscription outlives the node it
was made through, and not the token that it was made with: a logout ends those of its token, and the master those whose
token has ended, or was revoked by a logout that did not come to its end. Each client is told so in each channel
(`TokenExpired`), but for the one that has logged out, which knows: after what the channel got before, and nothing of
the channel comes after it. Messages of a publisher that waits for each answer come in order; of one that does not,
several nodes may have some at a time, unless the proxy's policy keeps its requests on one (`sticky`).

Who tells users of users, so that nobody is told twice: "in" goes out with the response to the request whose entry
brought the client in, and entries are in one order for all nodes. "out" is told by the master when a client's last
entry in a room is gone, whatever the cause: unsubscribed, or disconnected; before the first one is elected, by that
one. From the death of a master until there is another, no "out" is told.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import trio

from holdfast import Node, StateError
from holdfast.kuzzle import wire
from holdfast.kuzzle.errors import error
from holdfast.kuzzle.expiring import REVOKED
from holdfast.kuzzle.filters import Filter, FilterError, normalise, room_id
from holdfast.kuzzle.memberships import Flush, Memberships
from holdfast.kuzzle.rooms import (
    PREFIX,
    SCOPES,
    USERS,
    Change,
    Room,
    Rooms,
    Subscription,
    by_client,
    channel_of,
    entry_key,
)
from holdfast.kuzzle.time_slice import TimeSlice
from holdfast.kuzzle.wire import Action, Request

EXPIRY_INTERVAL = 1.0  # seconds between two looks for tokens that have ended
CHANNELS_AT_ONCE = 10_000  # less than 3 MB of names
# With a response: more than these are told before it, so that who publishes to many waits for the proxy's window, and
# does not fill the lane of a node with replies, of which those of others would be refused.
CHANNELS_WITH_RESPONSE = 500
# Messages of a client that wait at a node for the one that goes to many channels: each holds a place of those that the
# node has for all requests, of which a client may have 64.
MAX_WAITING = 8
MAX_LEFT = 10_000  # that wait to be told who left; more than that while there is no master are not told
MAX_VOLATILE_BYTES = 4 << 10  # of a subscription, as JSON: it goes to all in the room, at each "in" and "out"
MAX_NAME_BYTES = 126  # of an index or a collection, as of those that are created: it does, too

Source = Mapping[str, Any]  # a document's content


class Realtime:
    """Subscriptions, and what is told to whom. `notify_document` is for controllers that change documents.

    is_revoked: whether the token of a name was logged out, as far as this node's state goes.
    """

    def __init__(self, node: Node, is_revoked: Callable[[str], bool], time_slice: TimeSlice) -> None:
        self._time_slice = time_slice
        self._is_revoked = is_revoked
        self._node = node
        self._state = node.state
        self._rooms = Rooms()
        self._memberships = Memberships(node)
        self._revoked: dict[str, int | None] = {}  # names of tokens, each with the client that has logged out
        self._left: deque[tuple[int, list[str], bytes]] = deque()  # to be told as master: epoch, channels, notification
        self._somebody_left = trio.Event()
        self._telling: dict[int, trio.Lock] = {}  # by client, who has one: what is told before the response
        node.on_state(self._on_state, inline=True)
        node.on_master(self._tell_who_left)
        node.on_master(self._end_with_tokens)

    def actions(self) -> dict[str, Action]:
        return {
            "subscribe": self.subscribe,
            "join": self.join,
            "unsubscribe": self.unsubscribe,
            "publish": self.publish,
            "count": self.count,
            "list": self.list_rooms,
        }

    # --- subscriptions --------------------------------------------------------------------------------------------

    async def subscribe(self, request: Request) -> dict[str, str]:
        index, collection = request.index, request.collection
        try:
            filters = normalise(request.object_body())
        except FilterError as wrong:
            raise error("api.assert.koncorde_dsl_error", wrong) from wrong
        return await self._enter(request, room_id(index, collection, filters), index, collection, filters)

    async def join(self, request: Request) -> dict[str, str]:
        """Subscribe to a room that somebody is in, by its id."""
        name = request.body_string("roomId")
        room = self._rooms.get(name)
        if room is None:
            raise error("core.realtime.room_not_found", name)
        return await self._enter(request, name, room.index, room.collection, room.filter)

    async def _enter(self, request: Request, name: str, index: str, collection: str, filters: Filter) -> dict[str, str]:
        if request.protocol == "http":  # nothing can be told to it later
            raise error("api.assert.unsupported_protocol", request.protocol, f"realtime:{request.action}")
        digits = _digits(request)
        _check_sizes(request, index, collection)
        subscription = Subscription(
            index, collection, list(filters), request.volatile, request.origin, request.token, request.token_ends
        )
        key = entry_key(name, request.client, digits)

        def is_over() -> bool:  # a logout that came first has not seen this one
            return self._is_revoked(request.token)

        async with self._memberships.turn(request.client):
            if key not in self._node.state and not self._rooms.has_room_for(name, request.client, subscription):
                raise error("core.realtime.too_many_rooms")
            await self._memberships.enter(key, subscription, is_over, request.flush)
        if is_over():
            raise error("security.token.invalid")
        room = self._rooms.get(name)
        member = room.members.get(request.client) if room else None
        if room is not None and member is not None and member.origin == request.origin:
            notification = self._user_notification("in", room, subscription, request.timestamp)
            # Few channels, so it waits for nothing that goes to many; and who came is not told of itself.
            await self._tell(room.channels_for_user("in"), notification, exclude=[request.client])
        return {"roomId": name, "channel": channel_of(key)}

    async def unsubscribe(self, request: Request) -> dict[str, str]:
        """Leave a room, with all channels of it that the client is in."""
        name = request.body_string("roomId")
        async with self._memberships.turn(request.client):
            room = self._rooms.get(name)
            member = room.members.get(request.client) if room else None
            if member is None and not request.redelivered:
                raise error("core.realtime.not_subscribed", f"{request.client:016x}", name)
            keys = [entry_key(name, request.client, digits) for digits in member.subscriptions] if member else []
            await self._memberships.end(keys, request.flush)
        return {"roomId": name}

    async def token_ended(self, request: Request) -> None:
        """Its token was revoked: whoever subscribes with it from now on sees that in the state."""
        await self._end_with_token(self._rooms.with_token(request.token), request.flush)

    async def _end_with_tokens(self) -> None:
        """As master: on one node at a time. It can't wait until proxies have done it, and needs not: however late that
        is, it ends nothing that is made anew (see `memberships`)."""
        while True:
            await self._end_with_token(self._rooms.ended(time.time(), self._revoked.keys()), trio.lowlevel.checkpoint)
            await trio.sleep(EXPIRY_INTERVAL)

    async def _end_with_token(self, keys: list[str], flush: Flush) -> None:
        """Their tokens are good for nothing any more. One client after the other, also if one's turn does not come."""
        failure: StateError | None = None
        over = {self._rooms.token_of(key) for key in keys}
        for client, all_of_client in by_client(keys).items():
            try:
                async with self._memberships.turn(client):
                    own = [key for key in all_of_client if self._rooms.token_of(key) in over]
                    await self._end_of_client(client, own, flush)
            except StateError as raised:
                failure = raised
        if failure is not None:
            raise failure

    async def _end_of_client(self, client: int, keys: list[str], flush: Flush) -> None:
        """The client is told when it is out of all its channels, since it may subscribe anew as soon as it hears of
        one; and its entries go last: if we die before, the next one to look tells it once more."""
        told = [channel_of(key) for key in keys if self._revoked.get(self._rooms.token_of(key)) != client]
        head, tail = wire.for_channels(wire.token_expired(self._node.id))

        async def tell() -> None:
            for channel in told:
                await self._node.notify(head + channel.encode() + tail, clients=[client], text=True)
            await flush()

        await self._memberships.end(keys, tell)

    async def count(self, request: Request) -> dict[str, int]:
        return {"count": self._rooms.count(request.body_string("roomId"))}

    async def list_rooms(self, request: Request) -> dict[str, dict[str, dict[str, int]]]:
        return self._rooms.listing()

    # --- notifications ----------------------------------------------------------------------------------------------

    async def publish(self, request: Request) -> dict[str, bool]:
        """Send a message to everybody whose filter it passes. It is stored nowhere."""
        self.require_turn(request)
        index, collection = request.index, request.collection
        message = {**request.object_body(), "_kuzzle_info": {"author": request.user, "createdAt": request.timestamp}}
        id = request.args.get("_id")
        rooms = self._rooms.in_scope(index, collection, _with_id(id, message))
        await self._notify_rooms(request, "publish", "in", rooms, {"_id": id, "_source": message})
        return {"published": True}

    def require_turn(self, request: Request) -> None:
        """Refuse what would be told, and be behind too many of its client. Not what may have been told in part."""
        telling = self._telling.get(request.client)
        if telling is not None and telling.statistics().tasks_waiting >= MAX_WAITING and not request.redelivered:
            raise error("api.process.too_many_requests")

    async def notify_document(
        self, request: Request, action: str, id: str, before: Source | None, after: Source | None, result: object
    ) -> None:
        """Tell that a document changed: "in" to whose filter it passes now, "out" to whose it did and no longer does.

        before, after: its content; None if there was, or is, none. result: what the notification says of it.
        """
        index, collection = request.index, request.collection
        await self._time_slice.turn()  # one frame may have told many handlers that their writes are done
        now = [] if after is None else self._rooms.in_scope(index, collection, _with_id(id, after))
        formerly = [] if before is None else self._rooms.in_scope(index, collection, _with_id(id, before))
        still = set(now)
        await self._notify_rooms(request, action, "in", now, result)
        await self._notify_rooms(request, action, "out", [room for room in formerly if room not in still], result)

    async def _notify_rooms(self, request: Request, action: str, scope: str, rooms: list[Room], result: object) -> None:
        channels = [channel for room in rooms for channel in room.channels_for_scope(scope)]
        if channels:
            await self._send(
                request, channels, wire.document_notification(request, self._node.id, scope, action, result)
            )

    def _user_notification(self, user: str, room: Room, subscription: Subscription, timestamp: int) -> bytes:
        return wire.user_notification(
            user, len(room.members), room.index, room.collection, subscription.volatile, self._node.id, timestamp
        )

    async def _send(self, request: Request, channels: list[str], notification: bytes) -> None:
        """With the response, or before it, if there are many channels: how many listen fails nobody's request.

        The price: if this node dies before it responds, the request's next attempt tells those again.
        """
        is_wide = len(channels) > CHANNELS_WITH_RESPONSE
        telling = self._telling.get(request.client)
        if telling is None:
            if not is_wide:
                await self._tell(channels, notification)
                return
            telling = self._telling[request.client] = trio.Lock()
        try:
            async with telling:  # one at a time of each client, in order: others' are not behind all of his
                for place in range(0, len(channels), CHANNELS_AT_ONCE):
                    await self._tell(channels[place : place + CHANNELS_AT_ONCE], notification)
                    if is_wide:
                        await request.flush()
        finally:
            if not telling.locked():
                self._telling.pop(request.client, None)

    async def _tell(self, channels: list[str], notification: bytes, exclude: Sequence[int] = ()) -> None:
        if channels:
            head, tail = wire.for_channels(notification)
            await self._node.notify(head, channels=channels, exclude=exclude, text=True, tail=tail)

    # --- following the state ------------------------------------------------------------------------------------------

    def _on_state(self, key: str, value: Any) -> None:  # noqa: ANN401
        if not key.startswith((PREFIX, REVOKED)):
            return
        if self._state is not self._node.state:  # another run of the node: all that there is will be told anew
            self._state = self._node.state
            self._rooms = Rooms()
            self._revoked = {}
        if key.startswith(REVOKED):
            token = key.removeprefix(REVOKED)
            if value is None:
                self._revoked.pop(token, None)
            else:
                self._revoked[token] = value["value"].get("client")
            return
        change = self._rooms.apply(key, value)
        if change is not None and change.user == "out":
            self._went(change)

    def _went(self, change: Change) -> None:
        """Tell the others in the room, if that is this node's business: as master, also before it has its lease and
        while that lapses; or if nobody is master yet, should this node become it."""
        if self._node.master not in ("", self._node.id):
            self._left.clear()
            return
        room = change.room
        notification = self._user_notification("out", room, change.subscription, int(time.time() * 1000))
        channels = room.channels_for_user("out")
        if channels and len(self._left) < MAX_LEFT:
            self._left.append((self._node.epoch, channels, notification))
        self._somebody_left.set()

    async def _tell_who_left(self) -> None:
        """As master: on one node at a time."""
        term = self._node.epoch
        while True:
            while self._left:
                epoch, channels, notification = self._left[0]
                if epoch >= term - 1:  # else another master came between, and told its own
                    await self._tell(channels, notification)
                self._left.popleft()  # not before: the lease may end while it waits to be sent
            self._somebody_left = trio.Event()
            await self._somebody_left.wait()


def _digits(request: Request) -> str:
    users, scope = request.string("users", "none"), request.string("scope", "all")
    if users not in USERS:
        raise error("core.realtime.invalid_users")
    if scope not in SCOPES:
        raise error("core.realtime.invalid_scope")
    return f"{USERS[users]}1{SCOPES[scope]}"


def _check_sizes(request: Request, index: str, collection: str) -> None:
    """Of what a subscription says to all others in its room."""
    for name, value in (("index", index), ("collection", collection)):
        if len(value.encode()) > MAX_NAME_BYTES:
            raise error("api.assert.invalid_argument", name, f"at most {MAX_NAME_BYTES} bytes")
    if len(msgspec.json.encode(request.volatile)) > MAX_VOLATILE_BYTES:
        raise error("api.assert.invalid_argument", "volatile", f"at most {MAX_VOLATILE_BYTES} bytes of JSON")


def _with_id(id: str | None, source: Source) -> Source:
    return source if id is None else {**source, "_id": id}
