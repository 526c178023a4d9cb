"""What operators are shown of the cluster, made of what each proxy has last published.

The proxy that is asked shows of itself what it has told the others, not what it has come to know since: so the status
is the same wherever one asks.
"""

from msgspec.structs import asdict

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.protocols.peers.frames import Beat, Member
from holdfast.proxy.views import ClusterView, ProxyView

SILENT = Beat(0, [], [])


def view_of(cluster: Cluster, now: float) -> ClusterView:
    membership = cluster.membership
    record = membership.record
    heard = membership.hears(now) | {cluster.me.proxy}
    trouble = trouble_of(cluster, now)
    members = record.members if membership.is_member else (*record.members, cluster.me)
    return ClusterView(
        here=cluster.me.proxy,
        version=record.version,
        epoch=record.epoch,
        master=record.master or None,
        keeper=record.keeper or None,
        fenced=membership.is_fenced(now),
        trouble="; ".join(filter(None, (trouble, warning_of(cluster, now) if membership.is_member else ""))),
        members=[_view(member, cluster.beat_of(member.proxy) or SILENT, member.proxy in heard) for member in members],
    )


def trouble_of(cluster: Cluster, now: float) -> str:
    """Why this proxy is not a working part of its cluster, in a few words; "" if it is."""
    membership = cluster.membership
    if not membership.is_member:
        waits = cluster.hindrance(now)
        return (
            "evicted, and joins again"
            if membership.is_fenced(now)
            else f"joining; waits {waits}"
            if waits
            else "joining"
        )
    if membership.is_fenced(now):
        return f"fenced: hears {len(membership.hears(now))} of {len(membership.record.members)} proxies"
    return ""


def warning_of(cluster: Cluster, now: float) -> str:
    """What does not go on though clients are served; "" if all does."""
    if cluster.membership.is_doubtful(now):
        return f"grants no mastership: waits {cluster.hindrance(now)}"
    silence = now - cluster.membership.absence.read_at
    if silence <= cluster.membership.times.card_ttl:
        return ""
    return f"the store has not answered for {silence:.0f} s: nobody can join, be evicted or be elected"


def _view(member: Member, beat: Beat, alive: bool) -> ProxyView:
    return ProxyView(
        id=member.proxy,
        router=member.router,
        pub=member.pub,
        alive=alive,
        fenced=alive and beat.fenced,  # what it said last is no longer so when it is not heard: it may be dead
        **asdict(beat.figures),
    )
