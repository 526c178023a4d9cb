"""The records that a proxy writes: to join, leave, evict, elect, and after a disaster.

Owns the rules for who may change the set of members, and when; the reasons are in balancer.cluster.membership.
Each function returns what to write over the present record by compare-and-set, or None: not now. Refuses any change
by a proxy that is not with the majority, but for half of all with the store's word, evidence of death, and reset.
"""

from collections.abc import Collection, Container

from msgspec.structs import replace

from balancer.cluster.membership import Membership
from protocols.peers.frames import Member, Record

STEP = 1.0  # a member that ought to evict has failed to if it has not within this; then it is the next one's turn


def change(membership: Membership, now: float) -> Record | None:
    """Without the members that a majority does not hear, or that are long absent."""
    missing = membership.missing(now)
    if not membership.is_member or membership.is_leaving or not missing:
        return None
    hears = membership.hears(now)
    if _outweighs(membership, hears):
        gone = [proxy for proxy in missing if _may_evict(membership, proxy, hears, now)]
        return _without(membership, gone, now) if gone else None
    if all(membership.absence.is_absent(proxy, now) for proxy in missing):
        return _without(membership, missing, now, dead=missing)
    return None


def _outweighs(membership: Membership, group: Collection[str]) -> bool:
    """Whether these members may decide for all: more than half, or half of a ballot that all have confirmed."""
    record = membership.record
    size = len(record.members)
    if membership.is_confirmed:
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
    return now - membership.silent_since(proxy) > membership.times.heartbeat_timeout + against.index(me) * STEP


def _without(membership: Membership, gone: Collection[str], now: float, dead: Container[str] = ()) -> Record:
    members = tuple(member for member in membership.record.members if member.proxy not in gone)
    return _changed(membership, members, now, dead)


def _changed(
    membership: Membership,
    members: tuple[Member, ...],
    now: float,
    dead: Container[str] = (),
    *,
    is_confirmed: bool | None = None,
    is_established: bool | None = None,
) -> Record:
    """dead: grant nothing any more, so they need not be outvoted."""
    record = membership.record
    version = max(record.version, membership.highest_told) + 1
    keeper, epoch = record.keeper, record.epoch
    ids = [member.proxy for member in members]
    if keeper not in ids:
        hears = membership.hears(now)
        keeper = next((proxy for proxy in ids if proxy in hears), ids[0] if ids else "")
        epoch = version
    if is_confirmed is None:
        is_confirmed = membership.is_confirmed
    if is_established is None:
        is_established = membership.is_established(now)
    former = record.ids if is_confirmed else record.former
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
    )


def join(membership: Membership, live: Container[str], now: float) -> Record | None:
    """With us, after the store was read. live: peers whose stream is proven and whose facts are complete."""
    record, me = membership.record, membership.me
    if membership.is_member or membership.is_leaving:
        return None
    heard = membership.heard_now(now)
    dead = {m.proxy for m in record.members if m.proxy not in heard and _is_replaced(membership, m)}
    members = tuple(member for member in record.members if member.proxy not in dead)
    if not members:
        return _founded(membership)
    welcoming = []
    for proxy in (member.proxy for member in members):
        beat = membership.beats.get(proxy)
        if beat and proxy in live and proxy in heard and beat.version == record.version and me.proxy in beat.strangers:
            welcoming.append(beat)
    is_confirmed = any(beat.confirmed for beat in welcoming) or all(
        membership.follows(member.proxy, record.ballot) for member in members
    )
    if 2 * len(welcoming) > len(members) and is_confirmed:
        is_established = any(beat.established for beat in welcoming)
        return _changed(membership, (*members, me), now, dead, is_confirmed=is_confirmed, is_established=is_established)
    if all(membership.absence.is_absent(member.proxy, now) for member in members):
        return _founded(membership)
    return None


def _is_replaced(membership: Membership, member: Member) -> bool:
    """Whether another is where this one was. A card may outlive its proxy, so if both have one that tells nothing."""
    if membership.me.is_at(member):
        return True
    cards = membership.cards
    return member.proxy not in cards and any(card.is_at(member) for card in cards.values())


def _founded(membership: Membership) -> Record:
    version = max(membership.record.version, membership.highest_told) + 1
    me = membership.me
    return Record(
        version=version,
        epoch=version,
        keeper=me.proxy,
        ballot=version,
        members=(me,),
        former=(me.proxy,),
        cluster=membership.record.cluster or me.proxy,
    )


def leave(membership: Membership, now: float) -> Record | None:
    """Without us; call Membership.resign before."""
    if not membership.is_member:
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


def elect(record: Record, node: str, incarnation: int, epoch: int) -> Record:
    """The same set, with this master from the epoch on, which is greater than the record's version."""
    is_carried = (node, incarnation, record.carried) == (record.master, record.incarnation, record.epoch)
    return replace(
        record,
        version=epoch,
        epoch=epoch,
        master=node,
        incarnation=incarnation,
        carried=epoch if is_carried else record.carried,
    )
