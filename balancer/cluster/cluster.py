"""One proxy's cluster: membership, a Sequence and PeerFacts for each peer, and what is to be sent and written.

Owns which peers we dial, and that one write is under way at a time. The shell (proxy.cluster) and the simulator
(tests.sim) hand it what comes and carry out the actions of `tick`. Refuses what is not from a proxy that knows the
token, without a word.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from balancer.cluster import changes
from balancer.cluster.actions import Action, Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish, Write
from balancer.cluster.facts import PeerFacts
from balancer.cluster.membership import Membership, Times
from balancer.cluster.sequence import Sequence as Stream
from balancer.cluster.sequence import SequenceState
from balancer.cluster.voice import Voice
from protocols.errors import FrameError
from protocols.peers.envelope import unseal
from protocols.peers.frames import (
    DRAINED,
    Beat,
    Counts,
    Facts,
    Frame,
    Leaving,
    Member,
    Nodes,
    NodeSeen,
    Proof,
    Prove,
    Published,
    Record,
    Told,
    Tunnelled,
    WantFacts,
)


class ClusterCounters(Struct):
    bytes_received: int = 0
    garbled: int = 0
    evictions: int = 0
    joins: int = 0
    store_errors: int = 0


class Peer:
    """What we have of another proxy that we dial."""

    def __init__(self, member: Member, stream: Stream, now: float) -> None:
        self.member = member
        self.stream = stream
        self.facts = PeerFacts()
        self.is_dialled = False
        self.wanted_at = now


class Cluster:
    """Call `tick` after each batch of messages, after each answer of the store, and every 0.1 s at least.

    random: 63 bits. may_join: whether to write ourselves into the record; the shell clears it while another proxy has
    the mutex. Callbacks come from within `received`, `stored`, and `tick`: on_record(former, new); on_tunnelled(peer,
    frame).
    """

    def __init__(self, me: Member, token: bytes, times: Times, random: Callable[[], int], now: float) -> None:
        self.me = me
        self.membership = Membership(me, times, now)
        self.peers: dict[str, Peer] = {}
        self.voice = Voice(me.proxy, token, times.heartbeat)
        self.counters = ClusterCounters()
        self.may_join = True
        self.on_record: Callable[[Record, Record], None] = lambda former, new: None
        self.on_tunnelled: Callable[[str, Tunnelled], None] = lambda peer, frame: None
        self._token = token
        self._times = times
        self._random = random
        self._is_writing = False
        self._must_rewrite = False  # the store has forgotten our record
        self._has_read = False
        self._is_fenced = False
        self._has_closed = False
        self._introduced: list[tuple[str, str, bool]] = []
        self._touched = now

    def found_alone(self, now: float) -> None:
        """A cluster of one that no store knows."""
        self.membership.found_alone(now)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def received(self, data: bytes, now: float) -> None:
        """From a SUB or a DEALER."""
        self._touch(now)
        self.counters.bytes_received += len(data)
        try:
            envelope = unseal(self._token, data)
        except FrameError:
            self.counters.garbled += 1
            return
        peer = self.peers.get(envelope.proxy)
        if peer is None:
            return
        if envelope.number:
            self._published(envelope.proxy, peer, envelope.number, envelope.frames, now)
            return
        for frame in envelope.frames:
            if isinstance(frame, Tunnelled):
                self.on_tunnelled(envelope.proxy, frame)
            elif isinstance(frame, Facts):
                repair = peer.stream.facts(frame)
                if repair is not None:
                    peer.facts.replace(repair.facts)
                    for fact in [*repair.facts, *repair.then]:
                        self._apply(envelope.proxy, peer, fact, now)

    def _published(self, proxy: str, peer: Peer, number: int, frames: Sequence[Frame], now: float) -> None:
        published = [frame for frame in frames if isinstance(frame, Published)]
        news = peer.stream.published(number, published)
        if news is None:
            return
        if any(isinstance(frame, Leaving) for frame in published):
            self.membership.left(proxy)  # at once: it will not be there to repair a gap
            return
        self.membership.heard(proxy, now)
        for frame in news:
            self._apply(proxy, peer, frame, now)

    def _apply(self, proxy: str, peer: Peer, frame: Published, now: float) -> None:
        match frame:
            case Beat():
                peer.facts.apply(frame)
                self.membership.beat(proxy, frame, now)
            case Nodes(nodes):
                peer.facts.apply(frame)
                self.membership.peer_sees(proxy, nodes)
            case Counts():
                peer.facts.apply(frame)
            case Told(record):
                self.membership.told(proxy, record.version, now)
                self._adopt(record, now)

    def asked(self, data: bytes, now: float) -> tuple[str, list[bytes]] | None:
        """From the ROUTER. Returns who asks, and what to send to its identity; None: it is no proxy of ours."""
        self._touch(now)
        self.counters.bytes_received += len(data)
        try:
            envelope = unseal(self._token, data)
        except FrameError:
            self.counters.garbled += 1
            return None
        if envelope.number or envelope.proxy == self.me.proxy:
            return None
        answers: list[bytes] = []
        for frame in envelope.frames:
            match frame:
                case Prove(nonce, member) if member.proxy == envelope.proxy:
                    self.voice.say(Proof(nonce))
                    self._wants(member, now)
                case WantFacts():
                    answers = self.voice.pages(self.membership.record)
                case Tunnelled():
                    self.on_tunnelled(envelope.proxy, frame)
        return envelope.proxy, answers

    def stored(self, record: Record, cards: Mapping[str, Member], asked: float, now: float) -> None:
        """The store's answer to a read, or to a write and a read, that began at `asked`."""
        self._touch(now)
        self._is_writing = False
        self._has_read = True
        former = self.membership.record
        self._must_rewrite = self.membership.stored(record, cards, asked, now)
        self._adopted(former)

    def store_failed(self) -> None:
        """It did not answer. Whether a write took place is unknown; what is to be written is made anew."""
        self._is_writing = False
        self.counters.store_errors += 1

    def _adopt(self, record: Record, now: float) -> None:
        former = self.membership.record
        if self.membership.adopt(record, now):
            self._adopted(former)

    def _adopted(self, former: Record) -> None:
        record = self.membership.record
        if record == former:
            return
        self.counters.evictions += len(set(former.ids).difference(record.ids))
        self.counters.joins += len(set(record.ids).difference(former.ids))
        self.voice.say(Told(record))
        self.on_record(former, record)

    def _touch(self, now: float) -> None:
        """Whoever was frozen finds old messages waiting: nothing that comes counts before a new proof."""
        if now - self._touched > self._times.heartbeat_timeout / 2:
            self.awoke(now)
        self._touched = now

    def awoke(self, now: float) -> None:
        """This process was away for a while."""
        self.membership.awoke(now)
        for peer in self.peers.values():
            peer.stream.restart()

    # --- our own facts ------------------------------------------------------------------------------------------------

    def node_list(self, nodes: Sequence[NodeSeen]) -> None:
        """These are our nodes now."""
        self.membership.sees(nodes)
        self.voice.nodes(nodes)

    def count_changed(self, counts: Iterable[tuple[str, int]]) -> None:
        """So many members have these channels here now."""
        self.voice.counts(counts)

    def count(self, channel: str) -> dict[str, int]:
        """Members of the channel by proxy, as far as there are any."""
        counts = {self.me.proxy: self.voice.facts.counts.get(channel, 0)}
        for proxy in self.membership.record.ids:
            if proxy in self.peers:
                counts[proxy] = self.peers[proxy].facts.counts.get(channel, 0)
        return {proxy: count for proxy, count in counts.items() if count}

    def drained(self) -> set[tuple[str, int]]:
        """Processes of nodes that an operator drains at another member. To be looked at again and again: one may come
        here after we were told."""
        members = [peer for proxy, peer in self.peers.items() if proxy in self.membership.record.ids]
        return {(s.node, s.incarnation) for peer in members for s in peer.facts.nodes if s.state == DRAINED}

    def beat_of(self, proxy: str) -> Beat | None:
        """The last heartbeat of a peer; for our own id the one that we last published, as the others have it."""
        if proxy == self.me.proxy:
            return self.voice.facts.beat
        peer = self.peers.get(proxy)
        return None if peer is None else peer.facts.beat

    def tunnel(self, session: bytes, data: bytes, *, back: bool) -> bytes:
        """A node's message in an envelope: to be sent on the peer's DEALER, or back to its identity."""
        return self.voice.alone(Tunnelled(session, data, back))

    # --- what we do ---------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """What is to be done now."""
        self._touch(now)
        actions: list[Action] = []
        self._dial(now, actions)
        self._ask(now, actions)
        self._write(now, actions)
        self._guard(now, actions)
        self._say(now, actions)
        return actions

    def _wants(self, member: Member, now: float) -> None:
        """We dial whoever is a member, has a card, or asks us."""
        if member.proxy == self.me.proxy:
            return
        peer = self.peers.get(member.proxy)
        if peer is None:
            stream = Stream(self._random(), self._times.discover_timeout / 3)
            self.peers[member.proxy] = Peer(member, stream, now)
        else:
            peer.wanted_at = now

    def _dial(self, now: float, actions: list[Action]) -> None:
        for member in self.membership.record.members:
            self._wants(member, now)
        for member in self.membership.cards.values():
            self._wants(member, now)
        heard = self.membership.heard_now(now)
        patience = self._times.card_ttl + self._times.heartbeat_timeout
        for proxy, peer in list(self.peers.items()):
            if not peer.is_dialled:
                peer.is_dialled = True
                actions.append(Dial(peer.member))
            elif now - peer.wanted_at > patience and proxy not in heard:
                del self.peers[proxy]
                self.membership.forget(proxy)
                actions.append(HangUp(proxy))

    def _ask(self, now: float, actions: list[Action]) -> None:
        for proxy, peer in self.peers.items():
            if peer.stream.wants_proof(now):
                actions.append(Ask(proxy, self.voice.alone(Prove(peer.stream.nonce, self.me))))
            elif peer.stream.wants_facts(now):
                actions.append(Ask(proxy, self.voice.alone(WantFacts())))

    def _write(self, now: float, actions: list[Action]) -> None:
        membership = self.membership
        if self._is_writing or not self._has_read:
            return
        if self._must_rewrite:
            self._must_rewrite = False
            record: Record | None = membership.record
        elif membership.is_member:
            record = changes.change(membership, now)
        elif self.may_join and now - membership.absence.read_at <= self._times.card_ttl:
            live = {proxy for proxy, peer in self.peers.items() if peer.stream.state is SequenceState.LIVE}
            record = changes.join(membership, live, now)
        else:
            record = None
        if record is not None:
            actions.append(self._to_write(record))

    def _to_write(self, record: Record) -> Write:
        self._is_writing = True
        return Write(record, self.membership.stored_version)

    @property
    def is_writing(self) -> bool:
        """Whether the store has not answered yet: until then nothing else is written."""
        return self._is_writing

    def elect(self, node: str, incarnation: int, epoch: int) -> Write:
        """Make this process of a node master; for the keeper, when nothing else is being written."""
        assert not self._is_writing
        return self._to_write(changes.elect(self.membership.record, node, incarnation, epoch))

    def leave(self, now: float) -> Write | None:
        """Out of the record, and no grants from now on. To be repeated until it is written, for as long as there is
        patience; then `farewell`."""
        self.membership.resign()
        record = changes.leave(self.membership, now)
        return None if record is None else self._to_write(record)

    def farewell(self) -> Publish:
        """The last thing that we say."""
        return Publish(self.voice.published([Leaving()]))

    def reset(self, now: float) -> Write:
        """The operator's word that members which are not heard are dead."""
        write = self._to_write(changes.reset(self.membership, now))
        for peer in self.peers.values():
            peer.stream.restart()
        return write

    def _guard(self, now: float, actions: list[Action]) -> None:
        is_fenced = self.membership.is_fenced(now)
        if is_fenced != self._is_fenced:
            self._is_fenced = is_fenced
            self._has_closed = False
            actions.append(Fence(is_fenced))
        if not self._has_closed and self.membership.must_close(now):
            self._has_closed = True
            actions.append(CloseClients())
        peers = self.membership.peers(now)
        if peers != self._introduced:
            self._introduced = peers
            actions.append(Introduce(peers))

    def _say(self, now: float, actions: list[Action]) -> None:
        membership = self.membership
        is_member = membership.is_member
        beat = Beat(
            membership.record.version,
            membership.missing(now),
            membership.strangers(now),
            self._is_fenced,
            is_member and membership.is_confirmed,
            is_member and membership.is_established(now),
        )
        data = self.voice.message(membership.record, beat, now)
        if data is not None:
            actions.append(Publish(data))
