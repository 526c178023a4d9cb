"""The records that a proxy writes: to join, leave, evict, elect, and after a disaster.

Owns the rules for who may change the record, and when; the reasons are in balancer.cluster.membership. Each function
returns what to write over the present record by compare-and-set, or None: not now. Refuses any change by a proxy that
is not with the majority, but for half of all with the store's word, evidence of death, and reset.
"""

from collections.abc import Collection, Container

from msgspec.structs import asdict, replace

from holdfast.balancer.cluster.grants import Process
from holdfast.balancer.cluster.membership import ANYBODY, Membership
from holdfast.balancer.cluster.times import longest_grant
from holdfast.protocols.peers.frames import Member, Record

STEP = 1.0  # a member that ought to write has failed to if it has not within this; then it is the next one's turn

KEYS = {
    "lease": "election.lease",
    "heartbeat_timeout": "cluster.heartbeat_timeout",
    "fence_timeout": "cluster.fence_timeout",
    "takeover_timeout": "cluster.takeover_timeout",
    "spread": "drain.spread",
}


def change(membership: Membership, now: float) -> Record | None:
    """Without the members that a majority does not hear, or that are long absent; or with less to fear."""
    if not membership.is_member or membership.is_leaving:
        return None
    missing = membership.missing(now)
    hears = membership.hears(now)
    if missing and _outweighs(membership, hears):
        gone = [proxy for proxy in missing if _may_evict(membership, proxy, hears, now)]
        if gone and (len(gone) == len(missing) or 2 * len(hears) > len(membership.record.members)):
            return _without(membership, gone, now)
    elif missing and all(_is_gone(membership, proxy, now) for proxy in missing):
        return _without(membership, missing, now, dead=missing)
    return _settled(membership, now)


def _is_gone(membership: Membership, proxy: str, now: float) -> bool:
    """Whether it is known, or follows from its absence, that it is dead."""
    return membership.is_known_dead(proxy) or membership.absence.is_absent(proxy, now)


def _settled(membership: Membership, now: float) -> Record | None:
    """A ballot that half has made, and that is quiet, is like any other."""
    record = membership.record
    if not record.halved or not membership.is_quorate(now) or not membership.is_quiet(now - membership.turn() * STEP):
        return None
    return replace(record, version=_next_version(membership), halved=False)


def _outweighs(membership: Membership, group: Collection[str]) -> bool:
    """Whether these members may decide for all: more than half, or half of a ballot that is firm."""
    record = membership.record
    size = len(record.members)
    if membership.is_firm:
        return 2 * len(group) >= size
    return 2 * len(group) > size and 2 * len(set(record.former).intersection(group)) > len(record.former)


def _may_evict(membership: Membership, proxy: str, hears: Container[str], now: float) -> bool:
    """Whether enough members do not hear it, and whether it is us who say so: the first, then the next, ..."""
    me, version, beats = membership.me.proxy, membership.record.version, membership.beats
    against = []
    for member in membership.record.ids:
        beat = beats.get(member)
        if member == me or (member in hears and beat and beat.version == version and proxy in beat.missing):
            against.append(member)
    if not _outweighs(membership, against):
        return False
    times, size = membership.times, len(membership.record.members)
    patience = times.heartbeat_timeout + against.index(me) * STEP
    if 2 * len(against) == size > 2:
        # Who fell silent together is missed within a heartbeat of each other. One of them that stayed for that would
        # confirm nothing, and there would be no next change.
        patience += 2 * times.heartbeat
    return now - membership.silent_since(proxy) > patience


def _without(membership: Membership, gone: Collection[str], now: float, dead: Collection[str] = ()) -> Record:
    members = tuple(member for member in membership.record.members if member.proxy not in gone)
    is_half = not dead and 2 * len(members) <= len(membership.record.members)
    return _changed(membership, members, now, dead, is_half=is_half)


def _next_version(membership: Membership) -> int:
    """Later than all that members and nodes have told: epochs are versions, and nodes refuse what is older."""
    return max(membership.record.version, membership.highest_told, membership.highest_epoch) + 1


def _changed(
    membership: Membership,
    members: tuple[Member, ...],
    now: float,
    dead: Container[str] = (),
    *,
    is_firm: bool | None = None,
    is_established: bool | None = None,
    is_half: bool = False,
) -> Record:
    """dead: grant nothing any more, so they need not be outvoted. is_half: no more have voted for it."""
    record = membership.record
    version = _next_version(membership)
    keeper, epoch, term = record.keeper, record.epoch, record.term
    ids = [member.proxy for member in members]
    if keeper not in ids:
        hears = membership.hears(now)
        keeper = next((proxy for proxy in ids if proxy in hears), ids[0] if ids else "")
        epoch = term = version
    if is_firm is None:
        is_firm = membership.is_firm
    if is_established is None:
        is_established = membership.is_established(now)
    former = record.ids if is_firm else record.former
    return Record(
        version=version,
        epoch=epoch,
        master=record.master,
        incarnation=record.incarnation,
        keeper=keeper,
        ballot=version,
        members=members,
        former=tuple(proxy for proxy in former if proxy not in dead),
        carried=epoch if is_established else 0,
        cluster=record.cluster or membership.me.proxy,
        agreed=membership.times.agreed,
        halved=is_half or (record.halved and not membership.is_quiet(now)),
        term=term,
        gone=membership.gone(ids, now),
    )


def join(membership: Membership, live: Container[str], now: float) -> Record | None:
    """With us, after the store was read. live: peers whose stream is proven and whose facts are complete."""
    record, me = membership.record, membership.me
    if membership.is_member or membership.is_leaving or membership.rivals or refusal(membership, now):
        return None
    heard = membership.heard_now(now)
    members = living(membership, now)
    if not members:
        return None if hindrance(membership, live, now) else founded(membership, now)
    dead = set(record.ids).difference(member.proxy for member in members)
    welcoming = []
    for proxy in (member.proxy for member in members):
        beat = membership.beats.get(proxy)
        if beat and proxy in live and proxy in heard and beat.version == record.version and me.proxy in beat.strangers:
            welcoming.append(beat)
    is_firm = any(beat.firm for beat in welcoming)
    # A ballot of which one died before it was firm would never be that.
    is_left_over = bool(dead) and all(membership.follows(member.proxy, record.ballot) for member in members)
    if 2 * len(welcoming) > len(members) and (is_firm or is_left_over):
        is_established = any(beat.established for beat in welcoming)
        return _changed(membership, (*members, me), now, dead, is_firm=is_firm, is_established=is_established)
    if all(membership.absence.is_absent(member.proxy, now) for member in members):
        return founded(membership, now)
    return None


def refusal(membership: Membership, now: float) -> str:
    """Why we can't be in the cluster as it is, whatever we wait for; "" if we can."""
    if membership.is_member:
        return ""
    record, me = membership.record, membership.me
    rival = membership.rival()
    if rival is not None:
        return (
            f"{rival.proxy} lives and says that it is at {rival.router}, and so do we, {me.proxy}:"
            " cluster.router must be another address for each proxy"
        )
    if membership.times.agreed != record.agreed and living(membership, now):
        mine, theirs = asdict(membership.times.agreed), asdict(record.agreed)
        differing = [f"{key} is {mine[field]:g} here and {theirs[field]:g}" for field, key in KEYS.items()
                     if mine[field] != theirs[field]]  # fmt: skip
        return f"{', '.join(differing)} in the cluster: all proxies must have the same"
    return ""


def hindrance(membership: Membership, live: Container[str], now: float) -> str:
    """What keeps us from founding a cluster where the record names nobody who lives; "" if nothing does."""
    record, times, absence = membership.record, membership.times, membership.absence
    if record.agreed != times.agreed and now - membership.began < longest_grant(record.agreed.lease):
        return "for leases of a cluster that had other settings to end"
    if record.members:  # there is evidence against all of them, but an address that is advertised is no proof
        others = (membership.me, *membership.cards.values())
        for member in record.members:
            if not any(other.outlives(member) for other in others) and not _is_gone(membership, member.proxy, now):
                return f"for proof that {member.proxy} is dead: another may say that it is at {member.router}"
        return ""
    if membership.is_first or absence.is_absent(ANYBODY, now):
        return ""
    if membership.highest_epoch > record.version:
        return unknown_cluster(membership)
    heard, beats = membership.heard_now(now), membership.beats
    for proxy in membership.cards:
        is_new = proxy in live and proxy in heard and beats[proxy].version <= record.version
        if proxy != membership.me.proxy and not is_new:
            return f"to hear proxy {proxy}, which has a card"
    if absence.lasts(ANYBODY, now) < times.card_ttl / 2:
        return "for cards of others, who refresh theirs within a third of the time that one lasts"
    return ""


def unknown_cluster(membership: Membership) -> str:
    """What is waited for when a node knows of another cluster."""
    return (
        f"for proxies of a cluster that the store does not know: a node has seen epoch {membership.highest_epoch}."
        f" This ends after cluster.takeover_timeout ({membership.times.takeover_timeout:g} s; 0: never), or by reset"
    )


def living(membership: Membership, now: float) -> tuple[Member, ...]:
    """The members of whose death we have no evidence."""
    heard = membership.heard_now(now)
    return tuple(m for m in membership.record.members if m.proxy in heard or not _is_dead(membership, m))


def _is_dead(membership: Membership, member: Member) -> bool:
    """Whether its name is free, or another is where this one was. Both may have the address: then a card of this one
    tells that it lives."""
    me, cards = membership.me, membership.cards
    if me.outlives(member) or membership.is_known_dead(member.proxy):
        return True
    return member.proxy not in cards and any(other.is_at(member) for other in (me, *cards.values()))


def founded(membership: Membership, now: float) -> Record:
    """A cluster of us alone, later than anything that a node or a proxy has told of.

    It begins at the clock: those who know of a former cluster may be out of reach, all of them, and come later.
    """
    told = max((beat.version for beat in membership.beats.values()), default=0)
    version = max(membership.beginning, _next_version(membership), told + 1)
    me = membership.me
    return Record(
        version=version,
        epoch=version,
        keeper=me.proxy,
        ballot=version,
        members=(me,),
        former=(me.proxy,),
        cluster=membership.record.cluster or me.proxy,
        agreed=membership.times.agreed,
        term=version,
        gone=membership.gone((me.proxy,), now),
    )


def leave(membership: Membership, now: float) -> Record | None:
    """Without us, who have resigned: when the set is firm, because what we hold of the state goes with us."""
    if not membership.is_firm:
        return None
    me = membership.me.proxy
    return _without(membership, (me,), now, dead=(me,))


def reset(membership: Membership, now: float) -> Record:
    """We and those members that we hear, whatever the majority: the operator's word that the others are dead."""
    hears = membership.hears(now)
    members = tuple(member for member in membership.record.members if member.proxy in hears)
    if not membership.is_member:
        members = (*members, membership.me)
    return _changed(membership, members, now, dead=membership.missing(now))


def raise_term(membership: Membership, above: int) -> Record:
    """The same keeper, in a later term than this one: nodes, or a member of another life, have seen that."""
    version = max(_next_version(membership), above + 1)
    return replace(membership.record, version=version, term=version)


def elect(membership: Membership, process: Process) -> Record:
    """The same set, with this master in a new epoch, which is later than all that any node has seen."""
    record = membership.record
    epoch = _next_version(membership)
    is_carried = (*process, record.carried) == (record.master, record.incarnation, record.epoch)
    return replace(
        record,
        version=epoch,
        epoch=epoch,
        master=process[0],
        incarnation=process[1],
        carried=epoch if is_carried else record.carried,
    )
