"""Channels: who has joined what, and the delivery of a notification to many sockets.

Owns membership, and the encoding and writing of one notification. A message is encoded once per wire format and written
straight to the sockets; only what a kernel refuses is queued, at its connection. Who gets one is decided when it is its
turn, channel by channel; who is closed meanwhile, or leaves, is skipped. Knows no order between notifications: that is
proxy.realtime.lanes'. Joins and leaves of several nodes have none, and come late at times: those that have a version
are in the order of that.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import structlog

from holdfast.protocols.clients.base import ClientProtocol
from holdfast.protocols.errors import ProtocolError
from holdfast.protocols.positions import Publication
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.connection import Connection
from holdfast.proxy.clients.nowhere import Nowhere
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import Session
from holdfast.proxy.clients.shared import Owner
from holdfast.proxy.clients.state import OPEN
from holdfast.proxy.clients.transport import Transport
from holdfast.proxy.config import RealtimeSettings

log = structlog.get_logger("holdfast.channels")

Named = Callable[[str, str, Publication], bytes]  # KnowsChannels.publication

CLIENTS_AT_ONCE = 256  # named by their ids, and looked up together
# The last of all clients' leaves that have a version: an older join must still find its own. 30 MB at most; each is a
# change of the state, of which there are some thousands a second.
MAX_LEFT = 100_000
SUBSCRIBED = -1  # the version of a membership that the client has wished for itself, and no node


class Nobody(Owner):
    """In place of who has left: nothing is delivered to it."""

    __slots__ = ()

    id = 0


class Rest:
    """Receivers of whom some have left their channel meanwhile. Made for these, so that others cost nothing more."""

    __slots__ = ("_nobody", "_receivers", "gone")

    def __init__(self, receivers: Iterator[Transport], nobody: Transport) -> None:
        self._receivers = receivers
        self._nobody = nobody
        self.gone: set[int] = set()

    def __iter__(self) -> Iterator[Transport]:
        return self

    def __next__(self) -> Transport:
        transport = next(self._receivers)
        return self._nobody if transport.owner.id in self.gone else transport


class FanOut:
    """One notification on its way: where it has yet to go, and its bytes per wire format.

    channels, clients: of these nothing has been looked up before `place`. left: of the present receivers.
    vain: channels that had nobody, if anybody wants to know. tail: with it, each channel's name stands between the
    head, which is what was given as payload, and the tail. channel: whose members are receiving. epoch, offset: its
    place in the channel's log, if it has one. sender: as of Publication. is_named: some of the frames say the channel.
    """

    __slots__ = (
        "channel", "channels", "clients", "epoch", "excluded", "frames", "head", "is_named", "is_text", "left",
        "offset", "payload", "place", "receivers", "sender", "tail", "vain",
    )  # fmt: skip

    def __init__(
        self,
        payload: bytes,
        is_text: bool,
        channels: Sequence[str],
        clients: Sequence[int],
        excluded: set[int] | None,
        vain: dict[str, None] | None = None,
        tail: bytes = b"",
        epoch: str = "",
        offset: int = 0,
        sender: bytes = b"",
    ) -> None:
        self.payload = self.head = payload
        self.tail = tail
        self.is_text = is_text
        self.channels = channels
        self.clients = clients
        self.excluded = excluded
        self.vain = vain
        self.channel = ""
        self.epoch = epoch
        self.offset = offset
        self.sender = sender
        self.is_named = False
        self.place = 0
        self.left = 0
        self.receivers: Iterator[Transport]
        self.frames: dict[object, bytes] = {}

    @property
    def is_done(self) -> bool:
        return not self.left and self.place == len(self.channels) + len(self.clients)

    def is_for(self, channel: str) -> None:
        """What this channel gets."""
        self.channel = channel
        if self.tail:
            self.payload = b"%b%b%b" % (self.head, channel.encode(), self.tail)
        if self.tail or self.is_named:
            self.frames = {}

    def goes_to(self, receivers: list[Transport]) -> None:
        self.left = len(receivers)
        self.receivers = iter(receivers)

    def has_left(self, client: int, channel: str, nobody: Transport) -> None:
        """A client is no member any more: if that channel is under way, and its turn has not come, it gets nothing."""
        if not self.left or not 0 < self.place <= len(self.channels) or self.channels[self.place - 1] != channel:
            return
        if not isinstance(self.receivers, Rest):
            self.receivers = Rest(self.receivers, nobody)
        self.receivers.gone.add(client)

    def encode(self, protocol: ClientProtocol, reactor: Reactor) -> bytes:
        """The bytes for a connection of this protocol. b"" when it can't say such a thing."""
        try:
            # Of KnowsChannels; isinstance would look at all of it: an eighth of what the guard counts for a delivery.
            named: Named | None = getattr(protocol, "publication", None) if self.channel else None
            if named is not None:
                self.is_named = True
                publication = Publication(self.payload, self.is_text, self.offset, self.sender)
                frame = named(self.channel, self.epoch, publication)
            else:
                frame = protocol.notification(self.payload, self.is_text)
        except ProtocolError:  # text that is no UTF-8: no client may get it
            frame = b""
        except Exception:  # an adapter's fault: its clients miss this one, and the log says so
            if reactor.masses.admits("adapter_crashed", reactor.now):
                log.exception("adapter_crashed", protocol=protocol.name)
            frame = b""
        if protocol.wire_format is not None:
            self.frames[protocol.wire_format] = frame
        return frame


class Channels:
    """subscriptions: memberships of all channels.

    on_first: told a channel that had nobody, and has somebody now; on_last: one that has nobody any more. on_left: told
    who is no member of a channel any more, and goes on.
    """

    def __init__(self, clients: Clients, settings: RealtimeSettings, max_per_client: int) -> None:
        self._clients = clients
        self._counters = clients.counters
        self._settings = settings
        self._max_per_client = max_per_client
        self._members: dict[str, dict[Session, Transport]] = {}
        self._nobody = Nowhere(clients, -1, None)
        self._nobody.owner = Nobody()
        self._left: dict[tuple[int, str], int] = {}  # by client and channel: the highest version, the latest at the end
        self.subscriptions = 0
        self.on_first: Callable[[str], None] | None = None
        self.on_last: Callable[[str], None] | None = None
        self.on_left: Callable[[Session, str], None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, channel: object) -> bool:
        """Whether anybody is in it."""
        return channel in self._members

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
        return True

    def limit(self, session: Session, channel: str) -> str:
        """The name of the limit by which it can't join; "": it may."""
        if session.channels and channel in session.channels:
            return ""
        if len(session.channels or ()) >= self._max_per_client:
            return "client.max_channels"
        if channel not in self._members:
            if len(self._members) >= self._settings.max_channels:
                return "realtime.max_channels"
            if len(channel.encode()) > self._settings.max_channel_name_bytes:
                return "realtime.max_channel_name_bytes"
        return ""

    def members(self, channel: str) -> list[Session]:
        """Who is in it now, in the order in which they came."""
        return list(self._members.get(channel, ()))

    def skip(self, client: int, channel: str, under_way: Iterable[FanOut]) -> None:
        """A member has got what is under way otherwise."""
        for fan_out in under_way:
            fan_out.has_left(client, channel, self._nobody)

    def leave(self, client: int, channel: str, under_way: Iterable[FanOut], version: int = 0) -> None:
        """under_way: what it gets nothing more of. version: see Leave."""
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
            self.skip(client, channel, under_way)
            if self.on_left is not None:
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
            frame = fan_out.encode(connection.protocol, self._clients.reactor)
        if not frame:
            return False
        connection.deliver(frame)
        return True
