"""Proxies that the store knows and that do not come together: who, and why so far as it can be told. For people.

Owns the words for it. Decides nothing: who may join says balancer.cluster.changes.
"""

from collections.abc import Container

from holdfast.balancer.cluster.changes import living
from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.peers import Peers
from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.protocols.peers.frames import Member, Record

GARBLED = "what comes can't be read, which is so with another node.token, or another release"
SILENCE = "nothing comes: an address that is not reached, a network between, or other CURVE keys"


def obstacle(membership: Membership, live: Container[str], why: str, now: float) -> str:
    """What a newcomer waits for that finds a cluster; "" if nothing is known. live: peers whose facts are complete.
    why: nothing is heard of the others."""
    members, heard, me = living(membership, now), membership.heard_now(now), membership.me
    silent = [member for member in members if member.proxy not in live or member.proxy not in heard]
    if 2 * len(silent) >= len(members):
        return f"to hear {_some(silent, len(members))}: {why}"
    beats = {member.proxy: membership.beats.get(member.proxy) for member in members if member not in silent}
    deaf = [m for m in members if (beat := beats.get(m.proxy)) is not None and me.proxy not in beat.strangers]
    if 2 * (len(silent) + len(deaf)) >= len(members):
        return f"to be heard by {_some(deaf, len(members))}: they must reach {me.router} and {me.pub}"
    if not any(beat is not None and beat.firm for beat in beats.values()):
        return "for the members to have agreed on their set, and to hold the nodes' state: their logs say more"
    return ""


def _some(members: list[Member], count: int) -> str:
    first = members[0]
    return f"{len(members)} of {count} members, such as {first.proxy} at {first.router} and {first.pub}"


def knocking(membership: Membership, peers: Peers, now: float) -> list[Member]:
    """Those that have cards, are no members, and were never heard, though they had time for it and are not dead."""
    if not membership.is_member or not membership.absence.is_fresh(now):
        return []
    begun_by = now - membership.times.discover_timeout - membership.times.card_ttl
    strangers = membership.cards.keys() - set(membership.record.ids)
    late = [peer for proxy, peer in peers.items() if proxy in strangers and peer.since < begun_by]
    return [peer.member for peer in late if peer.stream.state is not SequenceState.LIVE]


def evicted(membership: Membership, former: Record, now: float) -> list[Member]:
    """Of a record that was followed until now: who is in the present one no more, and has not left. Who leaves says so
    while it is heard, before or after."""
    me, present = membership.me.proxy, membership.heard_now(now) | membership.leavers
    gone = [member for member in former.members if member.proxy not in membership.record.ids]
    return [one for one in gone if (not membership.is_leaving if one.proxy == me else one.proxy not in present)]
