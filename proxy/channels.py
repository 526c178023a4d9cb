"""Channels: who has joined what, and the delivery of notifications to many sockets.

Owns membership and the queue of fan-outs. A message is encoded once per wire format and written straight to the
sockets; only what a kernel refuses is queued, at its connection. A large fan-out goes out in slices, one per turn of
the reactor. Notifications are delivered in the order in which they came: while one is under way the next ones wait
behind it, so each connection gets them in that order. Who gets one is decided when it comes; a connection that is
closed meanwhile is skipped.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import structlog

from protocols.clients.base import ClientProtocol
from protocols.errors import ProtocolError
from proxy.clients import Clients
from proxy.config import RealtimeSettings
from proxy.connection import Connection
from proxy.transport import OPEN

log = structlog.get_logger("holdfast.channels")

# 256 sockets take about 2 ms: what a reply may wait behind a fan-out. Smaller slices cost more checkpoints.
SLICE = 256


class FanOut:
    """One notification on its way: the receivers that are left, and its bytes per wire format."""

    __slots__ = ("frames", "is_text", "left", "payload", "receivers")

    def __init__(self, payload: bytes, is_text: bool, receivers: list[Connection]) -> None:
        self.payload = payload
        self.is_text = is_text
        self.left = len(receivers)
        self.receivers: Iterator[Connection] = iter(receivers)
        self.frames: dict[object, bytes] = {}

    def encode(self, protocol: ClientProtocol) -> bytes:
        """The bytes for a connection of this protocol. b"" when it can't say such a thing."""
        try:
            frame = protocol.notification(self.payload, self.is_text)
        except ProtocolError:  # text that is no UTF-8: no client may get it
            frame = b""
        except Exception:  # an adapter's fault: its clients miss this one, and the log says so
            log.exception("adapter_crashed", protocol=protocol.name)
            frame = b""
        if protocol.wire_format is not None:
            self.frames[protocol.wire_format] = frame
        return frame


class Channels:
    """pending: deliveries that are queued and not made yet. subscriptions: memberships of all channels.

    changed: channels whose count has changed; whoever wants to know puts a set there, and another when it takes it.
    on_first: told a channel that had nobody, and has somebody now.
    """

    def __init__(self, clients: Clients, settings: RealtimeSettings, max_per_client: int) -> None:
        self._clients = clients
        self._counters = clients.counters
        self._settings = settings
        self._max_per_client = max_per_client
        self._budget = SLICE  # deliveries that are left in this turn
        self._members: dict[str, dict[Connection, None]] = {}
        self._queue: deque[FanOut] = deque()
        self.pending = 0
        self.subscriptions = 0
        self.changed: set[str] | None = None
        self.on_first: Callable[[str], None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, channel: object) -> bool:
        """Whether anybody is in it."""
        return channel in self._members

    @property
    def is_full(self) -> bool:
        """More waits to be delivered than may: nodes are not read until it is less."""
        return self.pending > self._settings.max_pending_deliveries

    def join(self, client: int, channel: str) -> bool:
        """Joining twice counts once. False: unknown client, or a limit is reached."""
        connection = self._clients.find(client)
        if connection is None or not connection.is_session:
            return False
        joined = connection.channels
        if joined is None:
            joined = connection.channels = set()
        elif channel in joined:
            return True
        members = self._members.get(channel)
        if len(joined) >= self._max_per_client:
            self._counters.limits_hit["client.max_channels"] += 1
            return False
        if members is None:
            if len(self._members) >= self._settings.max_channels:
                self._counters.limits_hit["realtime.max_channels"] += 1
                return False
            if len(channel.encode()) > self._settings.max_channel_name_bytes:
                self._counters.limits_hit["realtime.max_channel_name_bytes"] += 1
                return False
            members = self._members[channel] = {}
            if self.on_first is not None:
                self.on_first(channel)
        joined.add(channel)
        self.subscriptions += 1
        members[connection] = None
        if self.changed is not None:
            self.changed.add(channel)
        return True

    def leave(self, client: int, channel: str) -> None:
        connection = self._clients.find(client)
        if connection is not None and connection.channels and channel in connection.channels:
            connection.channels.remove(channel)
            self._remove(connection, channel)

    def forget(self, connection: Connection) -> None:
        """A client has gone."""
        if connection.channels:
            for channel in connection.channels:
                self._remove(connection, channel)
            connection.channels = None

    def _remove(self, connection: Connection, channel: str) -> None:
        members = self._members[channel]
        self.subscriptions -= 1
        del members[connection]
        if not members:
            del self._members[channel]
        if self.changed is not None:
            self.changed.add(channel)

    def count(self, channel: str) -> int:
        return len(self._members.get(channel, ()))

    def publish(
        self,
        payload: bytes,
        is_text: bool,
        channels: Iterable[str],
        clients: Iterable[int] = (),
        exclude: Iterable[int] = (),
    ) -> None:
        """Deliver to each channel's members, once per channel, and to each client; not to `exclude`."""
        excluded = set(exclude)
        for channel in channels:
            members = self._members.get(channel)
            if members:
                self._start(payload, is_text, list(members), excluded)
        found = [connection for id in clients if (connection := self._clients.find(id)) is not None]
        if found:
            self._start(payload, is_text, [c for c in found if c.is_session], excluded)

    def broadcast(self, payload: bytes, is_text: bool, exclude: Iterable[int] = ()) -> None:
        """Deliver to every client."""
        everybody = [c for c in self._clients.connections.values() if c.is_session and not c.is_closed]
        self._start(payload, is_text, everybody, set(exclude))

    def _start(self, payload: bytes, is_text: bool, receivers: list[Connection], excluded: set[int]) -> None:
        if excluded:
            receivers = [connection for connection in receivers if connection.id not in excluded]
        self._counters.notifications += 1
        fan_out = FanOut(payload, is_text, receivers)
        self.pending += fan_out.left
        if self.is_full:
            self._counters.limits_hit["realtime.max_pending_deliveries"] += 1
        if self._queue or self._budget <= 0 or not self._deliver(fan_out):
            self._queue.append(fan_out)

    def step(self, now: float) -> bool:
        """Turn's end: one slice. True: more is left."""
        self._budget = SLICE
        queue = self._queue
        while queue and self._budget > 0:
            if self._deliver(queue[0]):
                queue.popleft()
        return bool(queue)

    def _deliver(self, fan_out: FanOut) -> bool:
        """To as many as this turn has left. True: that was all."""
        frames = fan_out.frames
        write = os.write
        count = min(self._budget, fan_out.left)
        missed = sent_bytes = 0
        for connection in islice(fan_out.receivers, count):
            frame = frames.get(connection.direct)
            if not frame or connection.pending is not None:
                missed += not self._deliver_to(connection, fan_out)
                continue
            try:
                sent = write(connection.fd, frame)
            except BlockingIOError:
                sent = 0
            except OSError:  # it has gone; epoll says so in a moment
                continue
            sent_bytes += sent
            if sent != len(frame):
                connection.queue(frame, sent)
        self._budget -= count
        fan_out.left -= count
        self.pending -= count
        self._counters.deliveries += count - missed
        self._counters.bytes_sent += sent_bytes
        return fan_out.left == 0

    def _deliver_to(self, connection: Connection, fan_out: FanOut) -> bool:
        """To one that can't be written to directly, or is the first of its format. False: it gets nothing."""
        if connection.state is not OPEN:
            return False
        frame = fan_out.frames.get(connection.wire_format)
        if frame is None:
            frame = fan_out.encode(connection.protocol)
        if not frame:
            return False
        connection.deliver(frame)
        return True
