"""Who is in the cluster, as this proxy has it: quorum, and what a grant of mastership needs.

Owns the record that this proxy follows, and whom it hears. balancer.cluster.changes makes the records that it writes.

Why at most one node acts. It does while more than half of a ballot's members grant it (protocols.nodes.leases), and:
(a) Within a ballot. A proxy grants to another node only when its own last grant has run out, or was given back
    (balancer.election). Two majorities of one set share a proxy.
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
(e) A majority that is lost for good can't vote. Evidence replaces it: a member is dead whose place another has. Or
    time: a member that the store has not seen for takeover_timeout. So who misses a member, and can't read the store,
    stops granting after half of that. Or the operator's word (reset).
(f) A process that was frozen wakes up with old ideas. What it writes fails by its version; what it grants is of an old
    ballot or epoch; nobody counts as heard until heard again; and a lease counts from before the node's question.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from balancer.cluster.absence import Absence
from protocols.peers.frames import READY, SYNCING, Beat, Member, NodeSeen, Record


class Times(NamedTuple):
    """Seconds, as the configuration has them.

    grace: how long nodes keep the clients of a proxy that was evicted. lease_wait: how long a grant lasts, on the clock
    of who gave it: the lease x 1.2.
    """

    heartbeat: float
    heartbeat_timeout: float
    discover_timeout: float
    fence_timeout: float
    takeover_timeout: float
    card_ttl: float
    grace: float
    lease_wait: float


class Membership:
    """record: what we follow. cards: of all proxies, as last read. stored_version: of the record in the store then."""

    def __init__(self, me: Member, times: Times, now: float) -> None:
        self.me = me
        self.times = times
        self.record = Record()
        self.cards: Mapping[str, Member] = {}
        self.stored_version = 0
        self.absence = Absence(times.takeover_timeout, times.card_ttl, now)
        self.beats: dict[str, Beat] = {}
        self._heard_at: dict[str, float] = {}
        self._told: dict[str, int] = {}  # peer: the latest version that it follows
        self._nodes: dict[str, dict[tuple[str, int], int]] = {}  # proxy: its nodes' states
        self._silent_from: dict[str, float] = {}  # when it was heard, or became a member, or we woke up
        self._confirmed_at: float | None = None  # all members follow this ballot
        self._agreed_at: float | None = None  # all members follow this ballot and epoch
        self._is_told_established = False
        self._expelled_at: float | None = None
        self._is_leaving = False
        self._evicted: dict[str, tuple[Member, float]] = {}
        self._left: set[str] = set()

    def found_alone(self, now: float) -> None:
        """A cluster of one that no other process can know: nobody has to confirm it."""
        me = self.me.proxy
        self.record = Record(keeper=me, members=(self.me,), former=(me,), cluster=me)
        self._confirmed_at = self._agreed_at = float("-inf")

    # --- what happens -------------------------------------------------------------------------------------------------

    def heard(self, peer: str, now: float) -> None:
        self._heard_at[peer] = self._silent_from[peer] = now

    def beat(self, peer: str, beat: Beat, now: float) -> None:
        """What a peer's heartbeat says; `heard` says that it lives."""
        self.beats[peer] = beat
        self.told(peer, beat.version, now)
        if beat.version == self.record.version and self.is_member and peer in self.record.ids:
            # Both hold for the record, not for the peer. So who can't hear all members learns it from one who can.
            self._is_told_established |= beat.established
            if beat.confirmed and self._confirmed_at is None:
                self._confirmed_at = now

    def told(self, peer: str, version: int, now: float) -> None:
        """A peer follows this version."""
        if version > self._told.get(peer, 0):
            self._told[peer] = version
            self._confirm(now)

    def sees(self, nodes: Sequence[NodeSeen]) -> None:
        """These are all our nodes."""
        self.peer_sees(self.me.proxy, nodes)

    def peer_sees(self, peer: str, nodes: Sequence[NodeSeen]) -> None:
        self._nodes[peer] = {(seen.node, seen.incarnation): seen.state for seen in nodes}

    def left(self, peer: str) -> None:
        """It said so itself: its clients have gone with it. The record without it may come later."""
        self._left.add(peer)
        self._evicted.pop(peer, None)
        self._heard_at.pop(peer, None)

    def forget(self, peer: str) -> None:
        """We have hung up."""
        self._left.discard(peer)
        for known in (self._heard_at, self._silent_from, self._told, self._nodes, self.beats):
            known.pop(peer, None)

    def awoke(self, now: float) -> None:
        """We were away. Silence counts from now; but nobody counts as heard, because what waited for us is old."""
        self._heard_at.clear()
        self._silent_from = dict.fromkeys(self._silent_from, now)

    def adopt(self, record: Record, now: float, *, from_store: bool = False) -> bool:
        """Follow a later record. Of two that have the same version the store's counts; which cluster we are of is the
        store's to say as well."""
        mine, was_member = self.record, self.is_member
        if record.cluster != mine.cluster and not from_store:
            return False
        if record.version < mine.version or record == mine or (record.version == mine.version and not from_store):
            return False
        self.record = record
        self.stored_version = max(self.stored_version, record.version)  # who told it has it from there
        if self.is_member:
            self._expelled_at = None
        elif was_member:
            self._expelled_at = now
        for proxy in set(record.ids).difference(mine.ids):
            self._silent_from[proxy] = self._heard_at.get(proxy, now)
        self._note_evicted(mine, now)
        if (record.ballot, record.members) != (mine.ballot, mine.members):
            self._confirmed_at = None
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
        self.absence.read(self.record.ids, self.heard_now(now) | set(cards), asked, now)
        return record.version < self.record.version and self.is_quorate(now)

    def _confirm(self, now: float) -> None:
        record = self.record
        if not self.is_member or self._agreed_at is not None:
            return
        if all(self.follows(member, max(record.epoch, record.ballot)) for member in record.ids):
            self._agreed_at = now
        if self._confirmed_at is None and all(self.follows(member, record.ballot) for member in record.ids):
            self._confirmed_at = now

    def _note_evicted(self, former: Record, now: float) -> None:
        """An evicted proxy may still have its clients, unless another is where it was."""
        ids = self.record.ids
        for member in former.members:
            if member.proxy not in ids and member.proxy not in self._left and member != self.me:
                self._evicted[member.proxy] = (member, now)
        self._evicted = {
            proxy: (member, at)
            for proxy, (member, at) in self._evicted.items()
            if proxy not in ids
            and now - at <= self.times.grace
            and not any(member.is_at(other) for other in self.record.members)
        }

    # --- what is so ---------------------------------------------------------------------------------------------------

    @property
    def is_member(self) -> bool:
        return self.me in self.record.members

    @property
    def is_keeper(self) -> bool:
        """Whether we elect, and keep the nodes' state. What comes of either counts only while we are quorate."""
        return self.is_member and self.record.keeper == self.me.proxy

    @property
    def is_leaving(self) -> bool:
        return self._is_leaving

    def resign(self) -> None:
        """We leave, and grant no more."""
        self._is_leaving = True

    def heard_now(self, now: float) -> set[str]:
        """All proxies that are heard, members or not; ourselves not counted."""
        limit = self.times.heartbeat_timeout
        return {peer for peer, at in self._heard_at.items() if now - at <= limit}

    def hears(self, now: float) -> set[str]:
        """The members that are heard, we among them if we are one."""
        heard = self.heard_now(now)
        return {proxy for proxy in self.record.ids if proxy in heard or proxy == self.me.proxy}

    def missing(self, now: float) -> list[str]:
        hears = self.hears(now)
        return [proxy for proxy in self.record.ids if proxy not in hears]

    def strangers(self, now: float) -> list[str]:
        return sorted(self.heard_now(now).difference(self.record.ids))

    def silent_since(self, peer: str) -> float:
        return self._silent_from[peer]

    def follows(self, peer: str, version: int) -> bool:
        """Whether the peer, or we ourselves, have told this version or a later one."""
        return (self.record.version if peer == self.me.proxy else self._told.get(peer, 0)) >= version

    @property
    def highest_told(self) -> int:
        """By members: what others follow is none of our business."""
        return max((self._told.get(member, 0) for member in self.record.ids), default=0)

    @property
    def is_confirmed(self) -> bool:
        """Every member follows this ballot."""
        return self._confirmed_at is not None

    def is_quiet(self, now: float) -> bool:
        """No grant of an older ballot can make anybody act, (b)."""
        return self._confirmed_at is not None and now >= self._confirmed_at + self.times.lease_wait

    def is_established(self, now: float) -> bool:
        """Nobody but the record's master can be acting, (d)."""
        record = self.record
        return (
            record.carried == record.epoch
            or self._is_told_established
            or (self._agreed_at is not None and now >= self._agreed_at + self.times.lease_wait)
        )

    def is_quorate(self, now: float) -> bool:
        return self.is_member and len(self.hears(now)) >= self.record.quorum

    def _quorate_until(self, now: float) -> float:
        """When quorum was lost, if it is. Who joins for the first time has not lost any."""
        if not self.is_member:
            return now if self._expelled_at is None else self._expelled_at
        heard = sorted((now if p == self.me.proxy else self._silent_from[p] for p in self.record.ids), reverse=True)
        return heard[self.record.quorum - 1] + self.times.heartbeat_timeout

    def is_fenced(self, now: float) -> bool:
        """Not quorate for longer than a heartbeat. Who leaves is not fenced."""
        if self._is_leaving or self.is_quorate(now):
            return False
        return now - self._quorate_until(now) > self.times.heartbeat

    def must_close(self, now: float) -> bool:
        """Fenced for so long that clients are better off elsewhere."""
        return self.is_fenced(now) and now - self._quorate_until(now) > self.times.fence_timeout

    def may_grant(self, now: float) -> bool:
        """Whether the record's master may be granted a lease. Whose grant stands here is for Election to know."""
        if not self.is_member or self._is_leaving:
            return False
        if not self.is_quiet(now) and not self.is_established(now):
            return False
        return not (self.absence.is_proof_against_us(now) and self.missing(now))

    def majority_sees(self, node: str, incarnation: int, now: float, *, ready: bool = False) -> bool:
        """Whether more than half of the members, heard ones, have this process, and not draining; ready: and ready."""
        states = (READY,) if ready else (READY, SYNCING)
        key = (node, incarnation)
        votes = sum(self._nodes.get(proxy, {}).get(key) in states for proxy in self.hears(now))
        return votes >= self.record.quorum

    def peers(self, now: float) -> list[tuple[str, str, bool]]:
        """For nodes, of each proxy that has clients or may have: its id, its router's address, whether it is heard."""
        hears = self.hears(now)
        others = [
            (m.proxy, m.router, m.proxy in hears)
            for m in self.record.members
            if m != self.me and m.proxy not in self._left  # though the record without it may be late
        ]
        grace = self.times.grace
        gone = [(m.proxy, m.router, False) for m, at in self._evicted.values() if now - at <= grace]
        return [(self.me.proxy, self.me.router, True), *others, *gone]
