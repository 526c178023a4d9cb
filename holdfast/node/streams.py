"""What goes to each proxy: numbered, and by a stream to each (holdfast.node.stream).

Owns which proxies an effect concerns, and the numbers. Whoever publishes faster than clients take waits here, by the
window that each proxy tells. Numbers grow over all streams of a run of the node, so one that was given up and begins
again repeats none; and if its proxy comes back it is told of the hole.
"""

from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import NamedTuple

import structlog
import trio

from holdfast.node.effects import check_size
from holdfast.node.failures import Failures
from holdfast.node.seams import ProxySession
from holdfast.node.stream import (
    MAX_KEPT_SECONDS,
    NOWHERE,
    OVERHEAD,
    Effective,
    Kept,
    Numbers,
    Origin,
    Stream,
    Turn,
    hole,
)
from holdfast.protocols.nodes.effects import (
    MAX_ALL_PENDING,
    MAX_OWED,
    AsMaster,
    Broadcast,
    CloseClient,
    Effect,
    Join,
    Leave,
    Notify,
    Pending,
    unpack_ids,
    weigh,
)

log = structlog.get_logger("holdfast.node")

LAST_INTERVAL = 0.01  # at the end: how often it is looked whether all is acknowledged
MAX_FORMER = 1000  # proxies that were given up, and may come back

Concerned = tuple[set[str], dict[str, set[str]]]


class Sent(NamedTuple):
    """To be waited for with `Streams.wait_taken`."""

    stream: Stream
    number: int


class Streams:
    """proxy_of: whose client this is, if that is known. on_owes: called when `owes` says something else."""

    def __init__(self, proxy_of: Callable[[int], str | None], failures: Failures) -> None:
        self._proxy_of = proxy_of
        self._failures = failures
        self._numbers = Numbers()
        self._streams: dict[str, Stream] = {}
        self._former: dict[str, None] = {}
        self._listed: frozenset[str] = frozenset()
        self.on_owes: Callable[[], object] = lambda: None

    def __contains__(self, proxy: object) -> bool:
        return proxy in self._streams

    # --- the proxies ------------------------------------------------------------------------------------------------

    def listed(self, proxies: Collection[str]) -> None:
        """These are known to live. Something is kept for each from now on, with a session or without."""
        self._listed = frozenset(proxies)
        for proxy in self._listed:
            self._stream(proxy)

    def _stream(self, proxy: str) -> Stream:
        stream = self._streams.get(proxy)
        if stream is None:
            under_way = self._under_way()
            stream = self._streams[proxy] = Stream(self._numbers, trio.current_time(), self._owe, self._failures)
            for kept in under_way:
                stream.keep(kept)
            if proxy in self._former:  # what it was not sent meanwhile may have been for clients that it has
                del self._former[proxy]
                number = self._numbers.next()  # its own: the proxy may have all that was numbered before
                stream.keep(hole(number))
        return stream

    def _under_way(self) -> list[Kept]:
        """What some proxy with a session has not acknowledged. One that is new gets it, too: what it gets later would
        else come before it in a log, if this one is the first to append that. That one has acknowledged it says nothing
        of the log, which may be away for that one alone. A hole is of one proxy."""
        linked = [stream for stream in self._streams.values() if stream.session is not None]
        kept = {kept.number: kept for stream in linked for kept in (*stream.sent, *stream.waiting) if not kept.is_hole}
        return [kept[number] for number in sorted(kept)]

    def attach(self, session: ProxySession, seen: int) -> None:
        """A session is welcomed, and the proxy has our effects up to `seen`: the others are sent again, in order."""
        stream = self._stream(session.proxy)
        if stream.session is not None:  # by another way: the proxy knows nothing more of the session that was there
            stream.detach(trio.current_time())
        stream.has_seen(seen)
        # If this process was stopped nobody has looked yet. Proxies have forgotten requests of so long ago, and would
        # do once more what another node's attempt has done.
        self._warn(session.proxy, stream.give_up_old(trio.current_time()))
        stream.attach(session, seen)

    def detach(self, session: ProxySession, *, for_good: bool) -> None:
        """The session is over. for_good: the proxy has said goodbye, to its clients too."""
        stream = self.of(session)
        if stream is not None:
            stream.detach(trio.current_time())
            if for_good:
                self.forget(session.proxy)

    def forget(self, proxy: str) -> None:
        """It has no clients any more, or is one to which we had no way for too long."""
        stream = self._streams.pop(proxy, None)
        if stream is not None:
            self._former[proxy] = None
            if len(self._former) > MAX_FORMER:
                del self._former[next(iter(self._former))]
            if stream.owed:
                self.on_owes()

    def owes(self, to: str = "") -> list[tuple[str, int]]:
        """The proxies that may miss something if we die now, and up to which number: each other one tells them so, if
        we do, and they know what has come.

        to: who is told this. A proxy itself has, by then, what it was sent before.
        """
        owed = [(proxy, stream.due) for proxy, stream in self._streams.items() if proxy != to or stream.waiting]
        return [(proxy, number) for proxy, number in owed if number][:MAX_OWED]

    def pending(self, owes: Iterable[tuple[str, int]]) -> list[Pending]:
        """Of what is owed, what another node may do again; for as many proxies as there is room for."""
        told, room = list[Pending](), MAX_ALL_PENDING
        for proxy, _ in owes:
            pending = self._streams[proxy].pending()
            if pending and len(pending[1]) <= room:
                told.append(Pending(proxy, *pending))
                room -= len(pending[1])
        return told

    def _owe(self) -> None:
        self.on_owes()

    # --- effects ----------------------------------------------------------------------------------------------------

    def concerned(self, effects: Iterable[Effective]) -> Concerned:
        """The proxies that have to carry out any of these; and those that have muted them, with the channels.

        True until the next checkpoint.
        """
        concerned: set[str] = set()
        muted: dict[str, set[str]] = {}
        for effect in _flat(effects):
            if isinstance(effect, Broadcast):
                concerned |= self._streams.keys()
            elif isinstance(effect, Notify):
                channels = effect.channels
                if channels:
                    for proxy, stream in self._streams.items():
                        if stream.muted and stream.muted.issuperset(channels):
                            muted.setdefault(proxy, set()).update(channels)
                        else:
                            concerned.add(proxy)
                for client in unpack_ids(effect.clients):
                    concerned |= self._with(client)
            else:
                concerned |= self._with(effect.client)
            if len(concerned) == len(self._streams):
                break
        return concerned, {proxy: channels for proxy, channels in muted.items() if proxy not in concerned}

    def all(self) -> Concerned:
        """As if it concerned each proxy. True until the next checkpoint."""
        return {*self._streams}, {}

    def _with(self, client: int) -> Set[str]:
        """The proxy of this client; all of them if it is not known."""
        proxy = self._proxy_of(client)
        return self._streams.keys() if proxy is None or proxy not in self._streams else {proxy}

    async def wait_room(self, effects: Sequence[Effective]) -> Concerned:
        """Wait until each proxy with a session that these concern takes more. No checkpoint if it does."""
        while True:
            concerned = self.concerned(effects)
            full = next((stream for proxy in concerned[0] if (stream := self._streams[proxy]).is_full), None)
            if full is None:
                return concerned
            await full.changed.park()

    def send(self, effects: Sequence[Effective], origin: Origin = NOWHERE, to: Concerned | None = None) -> list[Sent]:
        """Send these to all proxies that they concern, or to these. Raises HoldfastError if they are too large."""
        size = OVERHEAD + len(origin.home) + sum(map(weigh, effects))
        concerned, muted = to or self.concerned(effects)
        streams = [self._streams[proxy] for proxy in concerned]
        for stream in streams:
            if stream.session is not None:
                check_size(size, stream.session.max_batch_bytes)
        for proxy, channels in muted.items():
            self._streams[proxy].withhold(effects, origin, channels, size)
        if not streams:
            return []
        joined = _joined(effects)
        for stream in streams:
            _end_silence(stream, joined, effects)  # before this has its number
        kept = self._numbers.number(effects, origin, size)
        for stream in streams:
            stream.joins(joined, kept.number)
            if len(streams) > 1:
                stream.shared = kept.number
            stream.keep(kept)
        return [Sent(stream, kept.number) for stream in streams]

    async def wait_sent(self, session: ProxySession) -> None:
        """Wait until all that was sent to the session's proxy so far has left."""
        stream = self.of(session)
        if stream is None or not stream.waiting:
            return
        last = stream.waiting[-1].number
        while stream.session is session and stream.has_waiting(last):
            await stream.changed.park()

    async def wait_replied(self, session: ProxySession, effects: Iterable[Effective]) -> Turn | None:
        """These go to the session's proxy with a reply, after what was sent before, and before what is sent from now
        on. None: nothing has to wait for the reply; else its turn, which must be ended when it has left.
        """
        stream = self.of(session)
        if stream is None:
            return None  # the session is over, and nothing goes anywhere
        joined = _joined(effects)
        _end_silence(stream, joined, effects)
        turn = None
        if stream.waiting or stream.turns:
            turn = stream.begin_turn()
            has_come = False
            try:
                while stream.session is session and not stream.is_turn(turn):
                    await stream.changed.park()
                has_come = True
            finally:
                if not has_come:
                    turn.end()
            _end_silence(stream, joined, effects)
        # Only what is not acknowledged can have a Mute under way, and that comes before the acknowledgement.
        stream.joins(joined, stream.last)
        return turn

    async def wait_taken(self, sent: Iterable[Sent]) -> None:
        """Wait until each is acknowledged, or there is no session that could bring it."""
        for stream, number in sent:
            while stream.acknowledged < number and stream.session is not None:
                await stream.changed.park()

    async def wait_all_taken(self) -> None:
        """Before the end: send what is withheld, and wait until all is acknowledged by whoever may have clients.

        That is who has a session or is listed; without any session nobody can say.
        """
        while self._untaken():  # noqa: ASYNC110 - lists change, too, and it is once in a life
            await trio.sleep(LAST_INTERVAL)

    def _untaken(self) -> dict[str, int]:
        """How much each proxy has not acknowledged that may have clients."""
        may_have = self._may_have_clients()
        untaken: dict[str, int] = {}
        for proxy, stream in self._streams.items():
            stream.listen()
            count = len(stream.waiting) + len(stream.sent)
            if count and proxy in may_have:
                untaken[proxy] = count
        return untaken

    def _may_have_clients(self) -> set[str]:
        """Of those for which something is kept. One that is evicted is listed until it must have closed its clients."""
        linked = {proxy for proxy, stream in self._streams.items() if stream.session is not None}
        return linked | self._listed if linked else {*self._streams}

    def close(self) -> None:
        """The end: what has not been acknowledged by now goes nowhere, and the others are told that."""
        untaken = self._untaken()
        for proxy, count in untaken.items():
            stream = self._streams[proxy]
            stream.owed = stream.last
            self._warn(proxy, count)
        if untaken:
            self.on_owes()

    def of(self, session: ProxySession) -> Stream | None:
        """For what its proxy says of it; None: the session is over."""
        stream = self._streams.get(session.proxy)
        return stream if stream is not None and stream.session is session else None

    def give_up_old(self, now: float) -> None:
        """Forget what was kept for too long. To be called about every second. Where there are no clients that could
        miss it, that is no loss."""
        may_have = self._may_have_clients()
        for proxy, stream in list(self._streams.items()):
            count = stream.give_up_old(now)
            if proxy in may_have:
                self._warn(proxy, count)
            if stream.session is None and proxy not in self._listed and now - stream.lost_at > MAX_KEPT_SECONDS:
                self.forget(proxy)

    def _warn(self, proxy: str, count: int) -> None:
        if count:
            log.warning("effects_given_up", proxy=proxy, count=count)


def _flat(effects: Iterable[Effective]) -> Iterable[Effect]:
    for effect in effects:
        if isinstance(effect, AsMaster):
            yield from effect.effects
        else:
            yield effect


def _end_silence(stream: Stream, joined: list[str], effects: Iterable[Effective]) -> None:
    """These are about to be sent: what is withheld of their channels comes before, and all of it before an end.

    Whoever leaves a channel may have joined it by another node, and we don't know of it yet.
    """
    stream.unmute(joined)
    if stream.withheld:
        named = set[str]()
        for effect in _flat(effects):
            if isinstance(effect, Notify):
                named.update(effect.channels)
            elif isinstance(effect, Leave):
                named.add(effect.channel)
            elif isinstance(effect, Broadcast | CloseClient):
                named.update(stream.withheld)
                break  # once: there may be many of these, and much is withheld
        stream.release(named)


def _joined(effects: Iterable[Effective]) -> list[str]:
    """The channels that they join anybody to."""
    return [effect.channel for effect in _flat(effects) if isinstance(effect, Join)]
