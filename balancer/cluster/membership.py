"""Who is in the cluster, as this proxy has it: quorum, and what a grant of mastership needs.

Owns the record that this proxy follows, and whom it hears. balancer.cluster.changes makes the records that it writes.

Why at most one node acts. It does while more than half of a ballot's members grant it (protocols.nodes.leases), and:
(a) Within a ballot. A proxy grants to another node only when its own last grant has run out, or was given back
    (balancer.cluster.grants). Two majorities of one set share a proxy.
(b) From ballot v to v'. Whoever confirms v' (has told a version >= v') grants nothing of an older ballot. So when all
    members of v' have confirmed it, and as long again as a grant lasts, grants of v can only stand outside v': the new
    ballot is *quiet*. That is no majority of v, because whoever wrote v' had more than half of v with it, following v;
    or half of it, when all of v had confirmed v.
(c) Over several ballots. {A..E} -> {A, B, C} -> {B, C}: if A has never confirmed the second, then A, D and E are a
    majority of the first, and may still grant in it. So as long as a ballot is not confirmed, a change needs more than
    half of `former` too: the last set that was confirmed. And nobody is added to a ballot that is not.
(d) Without a gap. The master may go on in v' before it is quiet if it was *established* in v: all had confirmed its
    epoch for as long as a grant lasts, so nobody else's grant stands anywhere. Merely to have been elected in v is not
    enough: others' grants in v may outlive the change. `carried` is the epoch that was established.
(e) A majority that is lost for good can't vote. Evidence replaces it: the kernel has given a member's address to
    another process, or has taken back the name that it had on our host, and it has no card. Or time: a member that the
    store has not seen for takeover_timeout. So who can't read the store stops granting after half of that, whether it
    misses anybody or not: whoever founds anew is not known to it. Or the operator's word (reset).
(f) A process that was frozen wakes up with old ideas. What it writes fails by its version; what it grants is of an old
    ballot or epoch; nobody counts as heard until heard again; and a lease counts from before the node's question.
(g) Half of v is enough for v' because the store takes one write of two. A store that forgets the first takes a second
    one, of the other half: then there are two v' which know nothing of each other. So a ballot that was made by half is
    *halved*: its members grant only while they have read it in the store within card_ttl. The second half's is halved
    too, and is quiet, and its master established, only card_ttl later than another's would be. It was written when the
    first was forgotten, and from that moment nobody has read the first. A ballot that is quiet is halved no more, which
    a member writes down: it has been in the store for longer than a store may forget.
(h) A record without members, or none at all, tells nothing of who lives: a store that was emptied has no other. So
    nobody founds a cluster on it while a proxy has a card and does not say that it follows nothing later, or while a
    node has told of an epoch that is later than the record; but when nothing came for takeover_timeout, as in (e).
    Such a node may come when it has just been founded: then the founder grants nothing until that time is over.
All of this compares times of several proxies, so they are the same everywhere: the record has them (`agreed`), and
nobody with others is let in. Who founds with other settings than the last cluster had waits for its grants to end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from holdfast.balancer.cluster.absence import Absence
from holdfast.balancer.cluster.hearing import Hearing
from holdfast.balancer.cluster.lingering import Lingering
from holdfast.balancer.cluster.times import MAX_DRIFT, Times
from holdfast.protocols.peers.frames import READY, SYNCING, Beat, Member, NodeSeen, Record
from holdfast.protocols.peers.ranges import MAX_BEGINNING, is_near

ANYBODY = ""  # in place of a proxy's id: of a record without members everybody is absent


class Membership:
    """record: what we follow. cards: of all proxies, as last read. stored_version: of the record in the store then.

    highest_epoch: that any node has told. began: when this run was bound. rivals: other proxies that have a card and
    say that they are where we are, and since when. is_first: nobody else could have known the store before.
    beats, nodes: what each peer has last told of itself and of its nodes, and we of ours. leavers: who has said that it
    leaves, though the record without it may come later. clock: microseconds since 1970.
    """

    def __init__(self, me: Member, times: Times, now: float, clock: Callable[[], int] = lambda: 0) -> None:
        self.me = me
        self.times = times
        self.began = now
        self._clock = clock
        self.is_first = False
        self.highest_epoch = 0
        self.record = Record()
        self.cards: Mapping[str, Member] = {}
        self.stored_version = 0
        self.absence = Absence(times.takeover_timeout, times.card_ttl, now)
        self.beats: dict[str, Beat] = {}
        self._hearing = Hearing(times.heartbeat_timeout)
        # The members of the first that are in the second, and those that are not.
        self._hears = (self.record, frozenset[str](), frozenset[str](), list[str]())
        self._told: dict[str, int] = {}  # peer: the latest version that it follows
        self.nodes: dict[str, dict[tuple[str, int], int]] = {}  # proxy: its nodes' states
        self._confirmed_at: float | None = None  # all members follow this ballot
        self._agreed_at: float | None = None  # all members follow this ballot and epoch
        self._is_told_established = self._is_firm = False
        self._expelled_at: float | None = None
        self.is_leaving = False
        self.lingering = Lingering(times.grace, times.sleep)
        self.leavers: set[str] = set()
        self._dead: set[str] = set()
        self._ours_read_at = float("-inf")  # when the store was last asked, and had our ballot
        self._blind_until = float("-inf")  # we have founded this cluster, and till then there may be another
        self._is_doubted = False  # a node was there that knows of one
        self.rivals: dict[str, float] = {}

    def found_alone(self, record: Record) -> None:
        """No other process can know this one: nobody has to confirm it."""
        self.record = record
        self._confirmed_at = self._agreed_at = float("-inf")

    # --- what happens -------------------------------------------------------------------------------------------------

    def heard(self, peer: str, now: float) -> None:
        self._hearing.heard(peer, now)

    def beat(self, peer: str, beat: Beat, now: float) -> None:
        """What a peer's heartbeat says; `heard` says that it lives."""
        self.beats[peer] = beat
        self.told(peer, beat.version, now)
        self.lingering.told(beat.evicted, {self.me.proxy, *self.leavers}, now)
        self.lingering.prune(self.record, now)
        if beat.version == self.record.version and self.is_member and peer in self.record.ids:
            # Both hold for the record, not for the peer. So who can't hear all members learns it from one who can.
            self._is_told_established |= beat.established
            self._is_firm |= beat.firm
            if beat.confirmed and self._confirmed_at is None:
                self._confirmed_at = now

    def node_told(self, epoch: int, now: float) -> None:
        """A node's hello did, or a heartbeat, of an epoch that it has seen."""
        self.highest_epoch = max(self.highest_epoch, epoch)
        is_alone = self.record.ids == (self.me.proxy,)  # else others have made it, and we are late to hear of it
        self._is_doubted |= is_alone and now < self._blind_until and epoch > self.record.version

    def trust_store(self) -> None:
        """The operator's word that there is no cluster which it does not know."""
        self._blind_until = float("-inf")

    def told(self, peer: str, version: int, now: float) -> None:
        """A peer follows this version."""
        if self._told.get(peer, 0) < version and is_near(version, self.record.version):
            self._told[peer] = version
            self._confirm(now)

    def sees(self, proxy: str, nodes: Sequence[NodeSeen]) -> None:
        """These are all nodes of a peer, or ours."""
        self.nodes[proxy] = {(seen.node, seen.incarnation): seen.state for seen in nodes}

    def left(self, peer: str) -> None:
        """It said so itself: its clients have gone with it. The record without it may come later."""
        self.leavers.add(peer)
        self.lingering.discard(peer)
        self._hearing.left(peer)

    def died(self, peer: str) -> None:
        """Nobody of our host has its name any more, and it was one of `nameable`."""
        self._dead.add(peer)

    def forget(self, peer: str) -> None:
        """We have hung up."""
        self.leavers.discard(peer)
        for known in (self._told, self.nodes, self.beats):
            known.pop(peer, None)
        self._hearing.forget(peer)

    def awoke(self, now: float) -> None:
        """We were away: what waited for us is old."""
        self._hearing.awoke(now)

    def adopt(self, record: Record, now: float, *, from_store: bool = False) -> bool:
        """Follow a later record. Of two that have the same version the store's counts; which cluster we are of is the
        store's to say as well."""
        mine, was_member, quorate_until = self.record, self.is_member, self._quorate_until(now)
        if not from_store and (record.cluster != mine.cluster or not is_near(record.version, mine.version)):
            return False
        if record.version < mine.version or record == mine or (record.version == mine.version and not from_store):
            return False
        self.record = record
        if record.ids == (self.me.proxy,) and not mine.ids and not self.is_first:
            if not self.absence.is_absent(ANYBODY, now):
                self._blind_until = now + (self.times.takeover_timeout or float("inf"))
            self.node_told(self.highest_epoch, now)  # it may have come while this was written
        self.stored_version = max(self.stored_version, record.version)  # who told it has it from there
        if was_member and not self.is_member:
            self._expelled_at = min(now, quorate_until)  # who was fenced stays so, and takes no clients now
        for proxy in set(record.ids).difference(mine.ids):
            self._hearing.joined(proxy, now)
        self.lingering.followed(mine, record, {self.me.proxy, *self.leavers}, now)
        self._dead.intersection_update((*record.ids, *self.lingering))
        if (record.ballot, record.members) != (mine.ballot, mine.members):
            self._confirmed_at = None
            self._is_firm = False
            self._ours_read_at = float("-inf")
        if (record.ballot, record.members, record.epoch) != (mine.ballot, mine.members, mine.epoch):
            self._agreed_at = None
        self._is_told_established = False
        self._confirm(now)
        return True

    def stored(self, record: Record, cards: Mapping[str, Member], asked: float, now: float) -> bool:
        """The store's answer to what was asked at `asked`. True: it has forgotten our record, which is to be written
        again."""
        self.cards = cards
        self.adopt(record, now, from_store=True)
        self.stored_version = record.version
        self.absence.read(self.record.ids or (ANYBODY,), self.heard_now(now) | set(cards), asked, now)
        if (record.ballot, record.members) == (self.record.ballot, self.record.members):
            self._ours_read_at = max(self._ours_read_at, asked)
        self.rivals = {
            proxy: self.rivals.get(proxy, now)
            for proxy, card in cards.items()
            if proxy != self.me.proxy and card.is_at(self.me) and not self.me.outlives(card)
        }
        return record.version < self.record.version and self.is_quorate(now)

    def _confirm(self, now: float) -> None:
        record = self.record
        if not self.is_member or self._agreed_at is not None:
            return
        if all(self.follows(member, max(record.epoch, record.ballot)) for member in record.ids):
            self._agreed_at = now
        if self._confirmed_at is None and all(self.follows(member, record.ballot) for member in record.ids):
            self._confirmed_at = now

    # --- what is so ---------------------------------------------------------------------------------------------------

    @property
    def is_member(self) -> bool:
        return self.me.proxy in self.record.ids

    @property
    def is_keeper(self) -> bool:
        """Whether we keep the nodes' state, and elect first. What comes of either counts only while we are quorate."""
        return self.is_member and self.record.keeper == self.me.proxy

    def resign(self) -> None:
        """We leave, and grant no more."""
        self.is_leaving = True

    def heard_now(self, now: float) -> frozenset[str]:
        """All proxies that are heard, members or not; ourselves not counted."""
        return self._hearing.now(now)

    def hears(self, now: float) -> frozenset[str]:
        """The members that are heard, we among them if we are one."""
        record, heard = self.record, self._hearing.now(now)
        if self._hears[0] is not record or self._hears[1] is not heard:
            members = frozenset(proxy for proxy in record.ids if proxy in heard or proxy == self.me.proxy)
            self._hears = record, heard, members, [proxy for proxy in record.ids if proxy not in members]
        return self._hears[2]

    def missing(self, now: float) -> list[str]:
        """Members that are not heard, in the record's order; not to be changed."""
        self.hears(now)
        return self._hears[3]

    def rival(self) -> Member | None:
        """Another proxy that lives and says that it is where we are. One that has died leaves a card for a while."""
        latest = self.absence.read_at - self.times.card_ttl * (1 + MAX_DRIFT)
        return next((self.cards[proxy] for proxy, since in self.rivals.items() if since < latest), None)

    def nameable(self, now: float) -> list[str]:
        """Proxies that are not heard, and that would have their names on our host if they lived: worth a look."""
        heard, host = self.heard_now(now), self.me.host
        known = (*self.record.members, *self.lingering.asleep(now))
        silent = [m for m in known if m.proxy not in heard and m.proxy != self.me.proxy and m.proxy not in self._dead]
        return [m.proxy for m in silent if m.is_named and m.host == host]

    def is_known_dead(self, proxy: str) -> bool:
        """Its name is free. A card tells that our host is not the one that we take it for: a virtual machine and its
        copy look the same."""
        return proxy in self._dead and proxy not in self.cards

    def strangers(self, now: float) -> list[str]:
        return sorted(self.heard_now(now).difference(self.record.ids))

    def silent_since(self, peer: str) -> float:
        return self._hearing.silent_since(peer)

    def follows(self, peer: str, version: int) -> bool:
        """Whether the peer, or we ourselves, have told this version or a later one."""
        return (self.record.version if peer == self.me.proxy else self._told.get(peer, 0)) >= version

    @property
    def beginning(self) -> int:
        """The first version of a cluster that is founded now."""
        return max(1, min(self._clock() // 1000, MAX_BEGINNING))

    @property
    def highest_told(self) -> int:
        """By members: what others follow is none of our business."""
        return max((self._told.get(member, 0) for member in self.record.ids), default=0)

    @property
    def is_confirmed(self) -> bool:
        """Every member follows this ballot."""
        return self._confirmed_at is not None

    @property
    def is_firm(self) -> bool:
        """Every member follows this ballot, and more than half hold the nodes' state as it was when it began: so half
        may decide on the next one, balancer.cluster.replication (c)."""
        return self._is_firm and self.is_confirmed

    def state_is_held(self) -> None:
        """As keeper, we know that more than half hold the state."""
        self._is_firm = True

    @property
    def _settling_time(self) -> float:
        """From when all know of a ballot or an epoch until nothing of before stands any more, (b), (d), (g)."""
        times = self.times
        return times.lease_wait + (times.card_ttl * (1 + MAX_DRIFT) if self.record.halved else 0.0)

    def is_quiet(self, now: float) -> bool:
        """No grant of an older ballot can make anybody act, (b)."""
        return self._confirmed_at is not None and now >= self._confirmed_at + self._settling_time

    def is_established(self, now: float) -> bool:
        """Nobody but the record's master can be acting, (d)."""
        record = self.record
        return (
            record.carried == record.epoch
            or self._is_told_established
            or (self._agreed_at is not None and now >= self._agreed_at + self._settling_time)
        )

    def is_quorate(self, now: float) -> bool:
        return self.is_member and len(self.hears(now)) >= self.record.quorum

    def _quorate_until(self, now: float) -> float:
        """When quorum was lost, if it is. Who joins for the first time has not lost any."""
        if not self.is_member:
            return now if self._expelled_at is None else self._expelled_at
        heard = sorted((now if p == self.me.proxy else self.silent_since(p) for p in self.record.ids), reverse=True)
        return heard[self.record.quorum - 1] + self.times.heartbeat_timeout

    def is_fenced(self, now: float) -> bool:
        """Not quorate for longer than a heartbeat. Who leaves is not fenced."""
        if self.is_leaving or self.is_quorate(now):
            return False
        return now - self._quorate_until(now) > self.times.heartbeat

    def must_close(self, now: float) -> bool:
        """While fenced: whether that is so for so long that clients are better off elsewhere."""
        return now - self._quorate_until(now) > self.times.fence_timeout

    def may_grant(self, now: float) -> bool:
        """Whether the record's master may be granted a lease. Whose grant stands here is for Election to know."""
        if not self.is_member or self.is_leaving:
            return False
        if not self.is_quiet(now) and not self.is_established(now):
            return False
        if self.is_doubtful(now):
            return False
        if self.record.halved and now - self._ours_read_at > self.times.card_ttl:
            return False
        return not self.absence.is_proof_against_us(now)

    def is_doubtful(self, now: float) -> bool:
        """Whether there may be another cluster, that the store does not know, (h)."""
        return self._is_doubted and now < self._blind_until

    def majority_sees(self, node: str, incarnation: int, now: float, *, ready: bool = False) -> bool:
        """Whether more than half of the members, heard ones, have this process, and not draining; ready: and ready."""
        states = (READY,) if ready else (READY, SYNCING)
        key = (node, incarnation)
        votes = sum(self.nodes.get(proxy, {}).get(key) in states for proxy in self.hears(now))
        return votes >= self.record.quorum

    def prefixes(self, now: float) -> dict[int, str]:
        """The proxies that have clients or may have, by the prefix of their clients' ids."""
        known = (*self._lingering(now), *self.record.members)
        return {m.prefix: m.proxy for m in known if m.proxy not in self.leavers}

    def gone(self, ids: Iterable[str], now: float) -> tuple[Member, ...]:
        """For a record with these members: who may live all the same."""
        but = {*ids, self.me.proxy, *self.leavers}
        known = {m.proxy: m for m in (*self._lingering(now), *self.record.members) if m.proxy not in but}
        return tuple(m for m in known.values() if not self.is_known_dead(m.proxy))

    def _lingering(self, now: float) -> list[Member]:
        """Those that were evicted, and may live and have clients."""
        return [m for m in self.lingering.members(now) if not self.is_known_dead(m.proxy)]

    def is_vacant(self, now: float) -> bool:
        """Whether we hear a majority, and see no master that a majority has."""
        record = self.record
        return self.is_quorate(now) and not self.majority_sees(record.master, record.incarnation, now)

    def is_agreed_vacant(self, now: float) -> bool:
        """Whether a majority says so of our record. Who is at the end of a bridge sees less than there is."""
        if not self.is_vacant(now):
            return False
        version, me = self.record.version, self.me.proxy
        said = (self.beats.get(proxy) for proxy in self.hears(now) if proxy != me)
        votes = sum(beat is not None and beat.vacant and beat.version == version for beat in said)
        return votes + 1 >= self.record.quorum

    def turn(self) -> int:
        """How many members come before us when there is something to be done that anybody may: the keeper is first."""
        others = [proxy for proxy in self.record.ids if proxy != self.record.keeper]
        return 0 if self.is_keeper else 1 + others.index(self.me.proxy)

    def peers(self, now: float) -> list[tuple[str, str, bool]]:
        """For nodes, of each proxy that has clients or may have: its id, its router's address, whether it is heard."""
        if not self.is_member and self._expelled_at is None:
            return []  # who is not listed counts as gone, and a newcomer does not know yet who was evicted lately
        hears = self.hears(now)
        others = [
            (m.proxy, m.router, m.proxy in hears)
            for m in self.record.members
            if m.proxy != self.me.proxy and m.proxy not in self.leavers  # though the record without it may be late
        ]
        gone = [(m.proxy, m.router, False) for m in self._lingering(now)]
        return [(self.me.proxy, self.me.router, True), *others, *gone]
