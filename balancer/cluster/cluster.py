"""One proxy's cluster: membership, a Sequence for each peer, and what is to be sent and written.

Owns what each frame means to whom. The shell (proxy.cluster) and the simulator (tests.sim) hand it what comes and carry
out the actions of `tick`. Refuses what is not from a proxy that knows the token, without a word.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from holdfast.balancer.cluster import changes, unheard
from holdfast.balancer.cluster.actions import Action, Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish
from holdfast.balancer.cluster.counters import ClusterCounters
from holdfast.balancer.cluster.counting import Counted, Counting
from holdfast.balancer.cluster.debts import Debts
from holdfast.balancer.cluster.mastership import Mastership
from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.owners import Owners
from holdfast.balancer.cluster.peers import Peer, Peers
from holdfast.balancer.cluster.replication import Replication
from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.balancer.cluster.sharing import Sharing
from holdfast.balancer.cluster.times import Times
from holdfast.balancer.cluster.voice import Voice, beat_of
from holdfast.balancer.cluster.writing import Writing
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import StateCopy
from holdfast.protocols.errors import FrameError
from holdfast.protocols.peers.envelope import unseal
from holdfast.protocols.peers.frames import (
    Beat,
    CountIs,
    Dead,
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
    WantCount,
    WantFacts,
    WantKick,
)
from holdfast.protocols.peers.replication import Debt, Owned, Replicated


class Cluster:
    """Call `tick` after each batch of messages, after each answer of the store, and every 0.1 s at least.

    random: 63 bits. clock: microseconds since 1970. state: our copy. count_here: of a channel's members. kick_here: a
    client of ours. Callbacks come from within `received`, `stored`, and `tick`: on_record(former, new);
    on_died(node, incarnation), a process that a peer knows to be dead; on_tunnelled(peer, frame); those of
    replication, owners and debts.
    """

    def __init__(
        self,
        me: Member,
        token: bytes,
        times: Times,
        random: Callable[[], int],
        clock: Callable[[], int],
        now: float,
        state: StateCopy | None = None,
        debts: Debts | None = None,
    ) -> None:
        self.me = me
        self.membership = Membership(me, times, now, clock)
        self.peers = Peers(me, times, random)
        self.voice = Voice(me.proxy, token, times.heartbeat)
        copy = StateCopy(StateSettings()) if state is None else state
        self.replication = Replication(me.proxy, copy)
        self.owners = Owners(me.prefix, copy)
        self.debts = Debts(me.proxy) if debts is None else debts
        self._sharing = Sharing(self.membership, self.replication, self.owners, self.debts)
        self.counters = ClusterCounters()
        self.mastership = Mastership(self.membership, now)
        self.writing = Writing(self.membership, self.mastership)
        self.count_here: Callable[[str], int] = lambda channel: 0
        self.kick_here: Callable[[int, str], bool] = lambda client, reason: False
        self.on_record: Callable[[Record, Record], None] = lambda former, new: None
        self.on_died: Callable[[str, int], None] = lambda node, incarnation: None
        self.on_tunnelled: Callable[[str, Tunnelled], None] = lambda peer, frame: None
        self._token = token
        self._times = times
        self._counting = Counting()
        self._asks: list[Ask] = []
        self._is_fenced = self._has_closed = False
        self._introduced = Introduce([], 0)
        self._touched = now
        self._garbled_at = float("-inf")

    def found_alone(self, now: float) -> None:
        """A cluster of one that no store knows. It joins nobody: a former run of us may have granted a lease."""
        self.membership.found_alone(changes.founded(self.membership, now))
        self._follow(now)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def received(self, data: bytes, now: float) -> None:
        """From a SUB or a DEALER."""
        self._touch(now)
        self.counters.bytes_received += len(data)
        try:
            envelope = unseal(self._token, data)
        except FrameError:
            self._garbled(now)
            return
        peer = self.peers.get(envelope.proxy)
        if peer is None:
            return
        for frame in envelope.frames:
            if isinstance(frame, Replicated | Owned | Debt):
                self._sharing.received(envelope.proxy, frame, now)  # these have numbers of their own
        if envelope.number:
            self._published(envelope.proxy, peer, envelope.number, envelope.frames, now)
            return
        for frame in envelope.frames:
            if isinstance(frame, Tunnelled):
                self.on_tunnelled(envelope.proxy, frame)
            elif isinstance(frame, Facts):
                repair = peer.stream.facts(frame)
                if repair is not None:
                    self.membership.heard(envelope.proxy, now)
                    for fact in [*repair.facts, *repair.then]:
                        self._apply(envelope.proxy, fact, now)
            elif isinstance(frame, CountIs):
                self._counting.answered(envelope.proxy, frame)

    def _published(self, proxy: str, peer: Peer, number: int, frames: Sequence[Frame], now: float) -> None:
        published = [frame for frame in frames if isinstance(frame, Published)]
        news = peer.stream.published(number, published)
        if news is None:
            return
        if any(isinstance(frame, Leaving) for frame in published):
            self.membership.left(proxy)  # at once: it will not be there to repair a gap
            return
        if peer.stream.state is SequenceState.LIVE:  # one that only asks may never get an answer
            self.membership.heard(proxy, now)
        for frame in news:
            self._apply(proxy, frame, now)

    def _apply(self, proxy: str, frame: Published, now: float) -> None:
        match frame:
            case Beat():
                self.membership.beat(proxy, frame, now)
                self.replication.beat(proxy, frame.term, frame.position, now)
            case Nodes(nodes):
                self.membership.sees(proxy, nodes)
            case Told(record):
                self.membership.told(proxy, record.version, now)
                self._adopt(record, now)
            case Dead(node, incarnation):
                self.on_died(node, incarnation)

    def asked(self, data: bytes, now: float) -> tuple[str, list[bytes]] | None:
        """From the ROUTER. Returns who asks, and what to send to its identity; None: it is no proxy of ours."""
        self._touch(now)
        self.counters.bytes_received += len(data)
        try:
            envelope = unseal(self._token, data)
        except FrameError:
            self._garbled(now)
            return None
        if envelope.number or envelope.proxy == self.me.proxy:
            return None
        answers: list[bytes] = []
        for frame in envelope.frames:
            match frame:
                case Prove(nonce, member, whose) if member.proxy == envelope.proxy:
                    if whose in ("", self.me.proxy):  # all get a proof: not for one that died at our address
                        self.voice.say(Proof(nonce))
                    self.peers.want(member, now)
                case WantFacts():
                    answers.append(self.voice.all_facts(self.membership.record))
                case WantCount(ask, channel):
                    answers.append(self.voice.alone(CountIs(ask, self.count_here(channel))))
                case WantKick(ask, client, reason):
                    answers.append(self.voice.alone(CountIs(ask, int(self.kick_here(client, reason)))))
                case Tunnelled():
                    self.on_tunnelled(envelope.proxy, frame)
                case _ if isinstance(frame, Replicated | Owned | Debt):
                    answer = self._sharing.received(envelope.proxy, frame, now)
                    if answer is not None:
                        answers.append(self.voice.alone(answer))
        return envelope.proxy, answers

    def stored(self, record: Record, cards: Mapping[str, Member], asked: float, now: float) -> None:
        """The store's answer to a read, or to a write and a read, that began at `asked`."""
        self._touch(now)
        former = self.membership.record
        self.writing.answered(must_rewrite=self.membership.stored(record, cards, asked, now))
        self._adopted(former, now)

    def store_failed(self, *, was_writing: bool) -> None:
        """It did not answer. Whether a write took place is unknown; what is to be written is made anew."""
        self.writing.failed(was_writing=was_writing)
        self.counters.store_errors += 1

    def _adopt(self, record: Record, now: float) -> None:
        former = self.membership.record
        if self.membership.adopt(record, now):
            self._adopted(former, now)

    def _adopted(self, former: Record, now: float) -> None:
        record, me = self.membership.record, self.me.proxy
        if record == former:
            return
        self.mastership.followed(is_joining=me in record.ids and me not in former.ids)
        self.counters.evictions += len(unheard.evicted(self.membership, former, now))
        self.counters.joins += len(set(record.ids).difference(former.ids))
        self.voice.say(Told(record))
        self.on_record(former, record)
        self._follow(now)

    def _follow(self, now: float) -> None:
        """The state's part of following a record."""
        self.owners.know(self.membership.prefixes(now))
        self.replication.follow(self.membership.record, now)

    def _garbled(self, now: float) -> None:
        self.counters.garbled += 1
        self._garbled_at = now

    def _touch(self, now: float) -> None:
        """Whoever was frozen finds old messages waiting: nothing that comes counts before a new proof."""
        if now - self._touched > self._times.heartbeat_timeout / 2:
            self.awoke(now)
            self.debts.slept(now - self._touched, is_alone=len(self.membership.record.members) < 2)
        self._touched = now

    def awoke(self, now: float) -> None:
        """This process was away for a while."""
        self.membership.awoke(now)
        self.peers.restart()

    # --- our own facts ------------------------------------------------------------------------------------------------

    def node_list(self, nodes: Sequence[NodeSeen]) -> None:
        """These are our nodes now."""
        self.membership.sees(self.me.proxy, nodes)
        self.voice.has_nodes(nodes)

    def node_died(self, node: str, incarnation: int) -> None:
        """This process of a node, on our host, is dead."""
        self.voice.say(Dead(node, incarnation))

    def count(self, channel: str, patience: float, told: Counted, now: float) -> bool:
        """Ask all members that are heard for the channel's members. False: too much is being asked.

        told: called once, with the counts by proxy, after `patience` at the latest.
        """
        ours = {self.me.proxy: self.count_here(channel)}
        others = [proxy for proxy in self.membership.hears(now) if proxy in self.peers]
        if not others:
            told(ours)
            return True
        question = self._counting.ask(partial(WantCount, channel=channel), ours, others, now + patience, told)
        if question is None:
            return False
        self._asks += (Ask(proxy, self.voice.alone(question)) for proxy in others)
        return True

    def kick(self, client: int, reason: str, patience: float, told: Counted, now: float) -> bool:
        """Have a client closed by the proxy that its id names. False: it is nobody's but ours.

        told: called once, after `patience` at the latest, with 1 or 0 of that proxy, or with nothing if it is silent.
        """
        owner = self.membership.prefixes(now).get(client >> 32, self.me.proxy)
        if owner == self.me.proxy:
            return False
        is_heard = owner in self.membership.heard_now(now)
        what = partial(WantKick, client=client, reason=reason)
        question = self._counting.ask(what, {}, [owner], now + patience, told) if is_heard else None
        if question is None:
            told({})
        else:
            self._asks.append(Ask(owner, self.voice.alone(question)))
        return True

    def beat_of(self, proxy: str) -> Beat | None:
        """The last heartbeat of a peer; for our own id the one that we last published, as the others have it."""
        return self.voice.beat if proxy == self.me.proxy else self.membership.beats.get(proxy)

    def tunnel(self, proxy: str, session: bytes, data: bytes, *, back: bool) -> bytes:
        """A node's message in an envelope: to be sent on the peer's DEALER, or back to its identity."""
        return self.voice.alone(Tunnelled(session, data, back, proxy))

    # --- what we do ---------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """What is to be done now."""
        self._touch(now)
        self._counting.expire(now)
        actions: list[Action] = [*self._asks]
        self._asks.clear()
        self._dial(now, actions)
        actions += (Ask(proxy, self.voice.alone(question)) for proxy, question in self.peers.questions(now))
        self._sharing.tend(now)
        self._write(now, actions)
        self._guard(now, actions)
        self._say(now, actions)
        actions += self.replicate(now)
        return actions

    @property
    def has_to_replicate(self) -> bool:
        return self.replication.has_to_send or self.owners.has_to_tell

    def replicate(self, now: float) -> list[Action]:
        """What is to be done at once after the nodes' state has changed, or a client has gone; `tick` has the rest."""
        actions: list[Action] = []
        published, asks = self._sharing.take(now)
        actions += (Publish(self.voice.published([entries])) for entries in published)
        for proxy, frame in asks:
            if proxy in self.peers and self.peers[proxy].is_dialled:  # what is lost is asked again
                actions.append(Ask(proxy, self.voice.alone(frame)))
        return actions

    def _dial(self, now: float, actions: list[Action]) -> None:
        """Whoever is a member, has a card, or has asked us."""
        for member in (*self.membership.record.members, *self.membership.cards.values()):
            self.peers.want(member, now)
        dial, hang_up = self.peers.tend(self.membership.heard_now(now), now)
        actions += map(Dial, dial)
        for proxy in hang_up:
            self.membership.forget(proxy)
            actions.append(HangUp(proxy))

    def _write(self, now: float, actions: list[Action]) -> None:
        write = self.writing.next(self.peers.live(), self.voice.nodes, self.replication.above, now)
        if write is not None:
            actions.append(write)

    def refusal(self, now: float) -> str:
        """Why we can't join, and need not wait; "" if we may yet."""
        return changes.refusal(self.membership, now)

    def hindrance(self, now: float) -> str:
        """What a newcomer waits for, or the founder of a cluster; "" if it does not, or is on its way in."""
        membership = self.membership
        if membership.is_doubtful(now):
            return changes.unknown_cluster(membership)
        if membership.is_member or membership.is_leaving or not self.writing.has_read:
            return ""
        if changes.living(membership, now):
            return unheard.obstacle(membership, self.peers.live(), self._why_unheard(now), now)
        return changes.hindrance(membership, self.peers.live(), now)

    def knocking(self, now: float) -> tuple[list[Member], str]:
        """As a member: who would be one, as the store says, and is not heard; and why."""
        return unheard.knocking(self.membership, self.peers, now), self._why_unheard(now)

    def _why_unheard(self, now: float) -> str:
        return unheard.GARBLED if now - self._garbled_at <= self._times.discover_timeout else unheard.SILENCE

    def leave(self) -> None:
        """From now on no grants; and out of the record as soon as the store takes it. Then `farewell`."""
        self.membership.resign()

    def farewell(self) -> Publish:
        """The last thing that we say."""
        return Publish(self.voice.published([Leaving()]))

    def reset(self) -> None:
        """The operator's word that members which are not heard are dead."""
        self.writing.must_reset = True
        self.membership.trust_store()
        self.peers.restart()

    def _guard(self, now: float, actions: list[Action]) -> None:
        is_fenced = self.membership.is_fenced(now)
        if is_fenced != self._is_fenced:
            self._is_fenced = is_fenced
            self._has_closed = False
            actions.append(Fence(is_fenced))
        if is_fenced and not self._has_closed and self.membership.must_close(now):
            self._has_closed = True
            actions.append(CloseClients())
        peers = self.membership.peers(now)
        introduced, self._introduced = self._introduced, Introduce(peers, self.membership.record.ballot if peers else 0)
        if introduced != self._introduced:
            actions.append(self._introduced)

    def _say(self, now: float, actions: list[Action]) -> None:
        beat = beat_of(self.membership, self.replication, is_fenced=self._is_fenced, now=now)
        data = self.voice.message(self.membership.record, beat, now)
        if data is not None:
            actions.append(Publish(data))
