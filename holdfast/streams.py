"""What goes to each of several proxies: numbered, kept until it is acknowledged, sent again in the next session.

Owns which proxies an effect concerns, the numbers, and what has been sent and not acknowledged. A node that knows one
proxy only needs none of it: its effects go bare, and those of a request with its reply.

Numbers grow over all streams of a run of the node, so one that was given up and begins again repeats none.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

import structlog
import trio
from msgspec import Raw

from holdfast import effects as weights
from protocols.nodes.frames import AsMaster, Broadcast, Effect, Effects, Hole, Join, Notify, encode_frame, unpack_ids

if TYPE_CHECKING:
    from holdfast.session import Session

log = structlog.get_logger("holdfast.node")

MAX_KEPT_BYTES = 64 << 20  # for each proxy
# A proxy to which a node had no way for so long is dead to it. To keep more would, after a long split, end in closing
# all clients of the other side, because not everything can be kept.
MAX_KEPT_SECONDS = 60.0
OVERHEAD = 64  # number, home, request and part


class Kept(NamedTuple):
    number: int
    frame: Raw
    size: int
    sent_at: float


class Stream:
    """To one proxy. session: the present one with it, if there is any. acknowledged: highest number that it has."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.acknowledged = 0
        self.kept: deque[Kept] = deque()
        self.kept_bytes = 0
        self.lost_to = 0  # up to here something was dropped that the proxy may not have
        self.muted: set[str] = set()
        self.joins: dict[str, int] = {}  # channel: a Mute of it before this is acknowledged may not know of our Join
        self.changed = trio.lowlevel.ParkingLot()

    def keep(self, kept: Kept) -> None:
        self.kept.append(kept)
        self.kept_bytes += kept.size
        if self.kept_bytes > MAX_KEPT_BYTES:
            self.lost_to = kept.number
            self.kept.clear()
            self.kept_bytes = 0
            self.forget_joins()
        if self.session is not None:
            self.session.send(kept.frame, kept.size)

    def forget_first(self) -> None:
        self.kept_bytes -= self.kept.popleft().size

    def forget_joins(self) -> None:
        """Nothing is kept: without a session, no Mute can be under way."""
        if self.session is None:
            self.joins.clear()

    def has(self, number: int) -> None:
        """The proxy has all up to this number."""
        self.acknowledged = max(self.acknowledged, number)
        if number >= self.lost_to:
            self.lost_to = 0  # it knows of that; and one that forgets us after a long while must not be told again
        while self.kept and self.kept[0].number <= number:
            self.forget_first()
        for channel in [channel for channel, joined in self.joins.items() if joined <= number]:
            del self.joins[channel]
        self.changed.unpark_all()


class Sent(NamedTuple):
    """To be waited for with `Streams.wait_taken`."""

    stream: Stream
    number: int


class Streams:
    """is_clustered: more than one proxy is known, or was. given_up: effects that were dropped, too old.

    proxy_of: whose client this is, if that is known.
    """

    def __init__(self, proxy_of: Callable[[int], str | None]) -> None:
        self._proxy_of = proxy_of
        self._streams: dict[str, Stream] = {}
        self._listed: frozenset[str] = frozenset()
        self._number = 0
        self.is_clustered = False
        self.given_up = 0

    def __contains__(self, proxy: object) -> bool:
        return proxy in self._streams

    # --- the proxies ------------------------------------------------------------------------------------------------

    def listed(self, proxies: Collection[str]) -> None:
        """These are known to live. Something is kept for each from now on, with a session or without."""
        self._listed = frozenset(proxies)
        for proxy in self._listed - self._streams.keys():
            self._streams[proxy] = Stream()
        for proxy, stream in list(self._streams.items()):
            if stream.session is None and proxy not in self._listed:
                del self._streams[proxy]
        # It stays: a request whose effects went numbered may come again when only one proxy is left.
        self.is_clustered = self.is_clustered or len(self._streams) > 1

    def attach(self, session: "Session", seen: int) -> None:
        """A session is welcomed, and the proxy has our effects up to `seen`: the others are sent again, in order."""
        stream = self._streams.setdefault(session.proxy, Stream())
        self.is_clustered = self.is_clustered or len(self._streams) > 1
        stream.session = session
        stream.muted.clear()
        stream.has(seen)
        if stream.lost_to > seen:
            session.send(encode_frame(Hole(stream.lost_to)))
        for kept in stream.kept:
            session.send(kept.frame, kept.size)

    def detach(self, session: "Session") -> None:
        """The session is over."""
        stream = self._streams.get(session.proxy)
        if stream is None or stream.session is not session:
            return
        stream.session = None
        stream.changed.unpark_all()
        if session.proxy not in self._listed:
            del self._streams[session.proxy]

    # --- effects ----------------------------------------------------------------------------------------------------

    def concerned(self, effects: Iterable[Effect | AsMaster]) -> set[str]:
        """The proxies that have to carry out any of these."""
        concerned: set[str] = set()
        for effect in effects:
            if isinstance(effect, AsMaster):
                concerned |= self.concerned(effect.effects)
            elif isinstance(effect, Broadcast):
                concerned |= self._streams.keys()
            elif isinstance(effect, Notify):
                channels = effect.channels
                if channels:
                    for proxy, stream in self._streams.items():
                        if not stream.muted or not stream.muted.issuperset(channels):
                            concerned.add(proxy)
                for client in unpack_ids(effect.clients):
                    concerned |= self._with(client)
            else:
                concerned |= self._with(effect.client)
            if len(concerned) == len(self._streams):
                break
        return concerned

    def _with(self, client: int) -> Set[str]:
        """The proxy of this client; all of them if it is not known."""
        proxy = self._proxy_of(client)
        return self._streams.keys() if proxy is None or proxy not in self._streams else {proxy}

    def send(
        self, effects: Sequence[Effect | AsMaster], to: Iterable[str], home: str = "", request: int = 0, part: int = 0
    ) -> list[Sent]:
        """Send these to some proxies. Raises HoldfastError if they are too large for one of them."""
        size = OVERHEAD + len(home) + sum(map(weights.weigh, effects))
        streams = [self._streams[proxy] for proxy in to]
        for stream in streams:
            if stream.session is not None:
                weights.check_size(size, stream.session.max_batch_bytes)
        self._number = number = self._number + 1
        self.joining(effects, streams, number)
        frame = encode_frame(Effects(number, list(effects), home, request, part))
        kept = Kept(number, frame, size, trio.current_time())
        for stream in streams:
            stream.keep(kept)
        return [Sent(stream, number) for stream in streams]

    def joining(self, effects: Iterable[Effect | AsMaster], streams: Iterable[Stream], number: int) -> None:
        """Their proxies will have a client in these channels: what they said of it before no longer counts."""
        for effect in effects:
            if isinstance(effect, AsMaster):
                self.joining(effect.effects, streams, number)
            elif isinstance(effect, Join):
                for stream in streams:
                    stream.muted.discard(effect.channel)
                    stream.joins[effect.channel] = number

    def replied(self, session: "Session", effects: Iterable[Effect]) -> None:
        """These go to the session's proxy with a reply.

        Only what is not acknowledged can have a Mute under way, and that comes before the acknowledgement.
        """
        stream = self._streams.get(session.proxy)
        if stream is not None and stream.kept:
            self.joining(effects, [stream], stream.kept[-1].number)

    async def wait_taken(self, sent: Iterable[Sent]) -> None:
        """Wait until each is acknowledged, or there is no session that could bring it."""
        for stream, number in sent:
            while stream.acknowledged < number and stream.session is not None:
                await stream.changed.park()

    # --- what proxies say -------------------------------------------------------------------------------------------

    def acknowledged(self, session: "Session", number: int) -> None:
        stream = self._of(session)
        if stream is not None:
            stream.has(number)

    def mute(self, session: "Session", channels: Sequence[str]) -> None:
        """The proxy has no member of these. It did not yet know of joins that it has not acknowledged."""
        stream = self._of(session)
        if stream is not None:
            stream.muted.update(channel for channel in channels if channel not in stream.joins)

    def unmute(self, session: "Session", channels: Sequence[str]) -> None:
        stream = self._of(session)
        if stream is not None:
            stream.muted.difference_update(channels)

    def _of(self, session: "Session") -> Stream | None:
        stream = self._streams.get(session.proxy)
        return stream if stream is not None and stream.session is session else None

    def give_up_old(self, now: float) -> None:
        """Forget what was kept for too long. To be called about every second."""
        for proxy, stream in self._streams.items():
            count = 0
            while stream.kept and now - stream.kept[0].sent_at > MAX_KEPT_SECONDS:
                stream.forget_first()
                count += 1
            if count:
                if not stream.kept:
                    stream.forget_joins()
                self.given_up += count
                log.warning("effects_given_up", proxy=proxy, count=count)
