"""Channels: who has joined what, and the delivery of a notification to many sockets.

Owns membership, and the encoding and writing of one notification. A message is encoded once per wire format and written
straight to the sockets; only what a kernel refuses is queued, at its connection. Who gets one is decided when it is its
turn, channel by channel; who is closed meanwhile, or leaves, is skipped. Knows no order between notifications: that is
proxy.realtime.lanes'. Joins and leaves of several nodes have none, and come late at times: those that have a version
are in the order of that.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import structlog

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.connection import Connection
from holdfast.proxy.clients.nowhere import Nowhere
from holdfast.proxy.clients.session import Session
from holdfast.proxy.clients.shared import Owner
from holdfast.proxy.clients.state import OPEN
from holdfast.proxy.clients.transport import Transport
from holdfast.proxy.config import RealtimeSettings
from holdfast.proxy.realtime.fan_out import FanOut
from holdfast.proxy.realtime.filtered import Filtered, Filtering

log = structlog.get_logger("holdfast.channels")

CLIENTS_AT_ONCE = 256  # named by their ids, and looked up together
# The last of all clients' leaves that have a version: an older join must still find its own. 30 MB at most; each is a
# change of the state, of which there are some thousands a second.
MAX_LEFT = 100_000
FILTER_UNITS = 16  # what it may take, as deliveries, to find who has a filter for a channel: 0.6 ms at most
SUBSCRIBED = -1  # the version of a membership that the client has wished for itself, and no node


class Nobody(Owner):
    """In place of who has left: nothing is delivered to it."""

    __slots__ = ()

    id = 0


class Channels:
    """subscriptions: memberships of all channels.

    on_first: told a channel that had nobody, and has somebody now; on_last: one that has nobody any more. on_joined,
    on_left: told whom a node has joined a channel, or leave it; None: nobody wants to know. on_filter: told that any
    channel may have somebody from now on. filtered: who has filters; while `has_filters`.
    """

    def __init__(
        self,
        clients: Clients,
        settings: RealtimeSettings,
        max_per_client: int,
        rule_of: Callable[[str], ChannelRule | None] = lambda channel: None,
    ) -> None:
        self._clients = clients
        self._counters = clients.counters
        self._settings = settings
        self._max_per_client = max_per_client
        self._members: dict[str, dict[Session, Transport]] = {}
        self._nobody = Nowhere(clients, -1, None)
        self._nobody.owner = Nobody()
        self._left: dict[tuple[int, str], int] = {}  # by client and channel: the highest version, the latest at the end
        self.filtered = Filtered(rule_of)
        self.has_filters = False
        self.subscriptions = 0
        self.on_first: Callable[[str], None] | None = None
        self.on_last: Callable[[str], None] | None = None
        self.on_joined: Callable[[Session, str], None] | None = None
        self.on_left: Callable[[Session, str], None] | None = None
        self.on_filter: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, channel: object) -> bool:
        """Whether anybody is in it, or has a filter for it."""
        if channel in self._members:
            return True
        return self.has_filters and isinstance(channel, str) and self.filtered.matched(channel, None) is not None

    def join(self, client: int, channel: str, version: int = 0) -> bool:
        """Joining twice counts once. version: see Join; SUBSCRIBED: it is the client's own wish, and no node's. False:
        unknown client, it has left, or a limit is reached."""
        session = self._clients.find(client)
        if session is None or (version > 0 and self._left.get((client, channel), 0) >= version):
            return False
        joined = session.channels
        if joined is None:
            joined = session.channels = {}
        elif channel in joined:
            joined[channel] = max(joined[channel], version)
            return True
        limit = self.limit(session, channel)
        if limit:
            self._counters.limits_hit[limit] += 1
            return False
        members = self._members.get(channel)
        if members is None:
            members = self._members[channel] = {}
            if self.on_first is not None:
                self.on_first(channel)
        joined[channel] = version
        self.subscriptions += 1
        members[session] = session.connection.transport
        if version != SUBSCRIBED and self.on_joined is not None:
            self.on_joined(session, channel)
        return True

    def limit(self, session: Session, channel: str) -> str:
        """The name of the limit by which it can't join; "": it may."""
        if session.channels and channel in session.channels:
            return ""
        if len(session.channels or ()) + self.filtered.counts.get(session, 0) >= self._max_per_client:
            return "client.max_channels"
        if channel not in self._members:
            if len(self._members) >= self._settings.max_channels:
                return "realtime.max_channels"
            if len(channel.encode()) > self._settings.max_channel_name_bytes:
                return "realtime.max_channel_name_bytes"
        return ""

    def add_filter(self, pattern: str, filtering: Filtering) -> None:
        """Raises HoldfastError if it is none, or there is no room. Having it twice counts once."""
        session = filtering.session
        if len(session.channels or ()) + self.filtered.counts.get(session, 0) >= self._max_per_client:
            self._counters.limits_hit["client.max_channels"] += 1
            raise HoldfastError("no more channels: client.max_channels is reached", Reason.OVERLOADED)
        self.filtered.add(pattern, filtering)
        if not self.has_filters:
            self.has_filters = True
            if self.on_filter is not None:
                self.on_filter()

    def remove_filter(self, pattern: str, filtering: Filtering, under_way: Iterable[FanOut]) -> None:
        """under_way: what it gets nothing more of, if that is not for a channel that it is in."""
        self.filtered.remove(pattern, filtering)
        self.has_filters = len(self.filtered) > 0
        session = filtering.session
        for fan_out in under_way:
            channel = fan_out.channel
            if channel not in (session.channels or ()) and session not in (self.filtered.matched(channel, None) or ()):
                fan_out.has_left(session.connection.transport, channel, self._nobody)

    def members(self, channel: str) -> list[Session]:
        """Who is in it now, in the order in which they came."""
        return list(self._members.get(channel, ()))

    def skip(self, session: Session, channel: str, under_way: Iterable[FanOut]) -> None:
        """A member has got what is under way otherwise, or is to get no more of it."""
        for fan_out in under_way:
            fan_out.has_left(session.connection.transport, channel, self._nobody)

    def leave(
        self, client: int, channel: str, under_way: Iterable[FanOut], version: int = 0, *, is_own: bool = False
    ) -> None:
        """under_way: what it gets nothing more of. version: see Leave. is_own: it is no node's doing."""
        session = self._clients.find(client)
        if session is None:
            return
        if version:
            left = self._left
            left[client, channel] = max(left.pop((client, channel), 0), version)
            if len(left) > MAX_LEFT:
                del left[next(iter(left))]
        joined = session.channels
        if joined and channel in joined and (not version or joined[channel] <= version):
            del joined[channel]
            self._remove(session, channel)
            self.skip(session, channel, under_way)
            if not is_own and self.on_left is not None:
                self.on_left(session, channel)

    def forget(self, session: Session) -> None:
        """A client has gone."""
        if session.channels:
            for channel in session.channels:
                self._remove(session, channel)
            session.channels = None

    def _remove(self, session: Session, channel: str) -> None:
        members = self._members[channel]
        self.subscriptions -= 1
        del members[session]
        if not members:
            del self._members[channel]
            if self.on_last is not None:
                self.on_last(channel)

    def count(self, channel: str) -> int:
        return len(self._members.get(channel, ()))

    def broadcast(self, payload: bytes, is_text: bool, excluded: set[int] | None) -> FanOut:
        """A notification for every client that is there now; which of the connections are clients is looked up as they
        come, since that of all at once would hold up the turn."""
        return FanOut(payload, is_text, (), list(self._clients.connections), excluded)

    def begun(self, fan_out: FanOut) -> FanOut:
        """One for one channel: who is there now gets it, and nobody who comes before its turn."""
        fan_out.place = 1
        channel = fan_out.channels[0]
        members = self._members.get(channel)
        if self.has_filters:
            members = self.filtered.matched(channel, members)
        if members is not None:
            fan_out.is_for(channel)
            fan_out.goes_to(list(members.values()))
        return fan_out

    def deliver(self, fan_out: FanOut, budget: int) -> int:
        """Go on with a notification. Returns what is left of the budget, which it may pass by CLIENTS_AT_ONCE.

        What counts is whom or what it names, too: a channel without anybody costs as much as one delivery.
        """
        while budget > 0:
            if fan_out.left:
                count = min(budget, fan_out.left)
                self._deliver(fan_out, count)
                budget -= count
            place, channels = fan_out.place, fan_out.channels
            if fan_out.left:
                break
            if place < len(channels):
                fan_out.place = place + 1
                channel = channels[place]
                members = self._members.get(channel)
                if self.has_filters:
                    members = self.filtered.matched(channel, members)
                    budget -= FILTER_UNITS
                if members is not None:
                    fan_out.is_for(channel)
                    if fan_out.tail:
                        budget -= 1  # it is encoded anew
                    fan_out.goes_to(list(members.values()))
                else:
                    budget -= 1
                    if fan_out.vain is not None:
                        fan_out.vain[channel] = None
            elif fan_out.clients and not fan_out.is_done:
                budget -= self._find(fan_out, place - len(channels))
            else:
                break
        return budget

    def _find(self, fan_out: FanOut, begin: int) -> int:
        """The next ones of those that are named by id. Returns how many nobody has."""
        if not begin:
            fan_out.is_for("")
        ids = fan_out.clients[begin : begin + CLIENTS_AT_ONCE]
        find = self._clients.find
        found = [session.connection.transport for id in ids if (session := find(id)) is not None]
        fan_out.place += len(ids)
        fan_out.goes_to(found)
        return len(ids) - len(found)

    def _deliver(self, fan_out: FanOut, count: int) -> None:
        """To so many of the present receivers."""
        frames = fan_out.frames
        write = os.write
        missed = sent_bytes = 0
        receivers: Iterator[Transport] = islice(fan_out.receivers, count)
        excluded = fan_out.excluded
        if excluded:
            chosen = [transport for transport in receivers if transport.owner.id not in excluded]
            missed = count - len(chosen)
            receivers = iter(chosen)
        direct: object = self  # no wire format
        frame = b""
        size = 0
        for transport in receivers:
            if transport.direct is not direct or transport.pending is not None:
                # Not as the one before: mostly all are.
                other = frames.get(transport.direct)
                if not other or transport.pending is not None:
                    missed += not self._deliver_to(transport.owner, fan_out)
                    continue
                direct, frame, size = transport.direct, other, len(other)
            try:
                sent = write(transport.fd, frame)
            except BlockingIOError:
                sent = 0
            except OSError:  # it has gone; epoll says so in a moment
                continue
            sent_bytes += sent
            if sent != size:
                transport.queue(frame, sent)
        fan_out.left -= count
        self._counters.deliveries += count - missed
        self._counters.bytes_sent += sent_bytes

    def _deliver_to(self, connection: Owner, fan_out: FanOut) -> bool:
        """To one that can't be written to directly, or is the first of its format. False: it gets nothing."""
        if not isinstance(connection, Connection) or connection.state is not OPEN:
            return False
        frame = fan_out.frames.get(connection.protocol.wire_format)
        if frame is None:
            protocol = connection.protocol
            frame = fan_out.encode(protocol, self._clients.reactor)
            if protocol.wire_format is None and frame:  # said by this one itself: perhaps it was its last word
                connection.deliver(frame)
                connection.has_said()
                return True
        if not frame:
            return False
        connection.deliver(frame)
        return True
