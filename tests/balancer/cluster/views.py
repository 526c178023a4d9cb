"""Memberships in a given state, for the tests of rules one by one."""

from collections.abc import Collection, Iterable

from balancer.cluster.membership import Membership, Times
from protocols.peers.frames import Beat, Member, Record

LEASE_WAIT = 2.4
TIMES = Times(
    heartbeat=0.5, heartbeat_timeout=2.0, discover_timeout=3.0, fence_timeout=10.0, takeover_timeout=60.0,
    card_ttl=3.0, grace=19.0, lease_wait=LEASE_WAIT,
)  # fmt: skip


def member(name: str, place: str = "") -> Member:
    return Member(name, f"tcp://10.0.0.1:{place or name}", "pub")


def record_of(names: Iterable[str], version: int = 5, **fields) -> Record:
    """Of a ballot that began with this version; the first is the keeper."""
    members = tuple(map(member, names))
    ids = tuple(m.proxy for m in members)
    return Record(version, **{"keeper": ids[0], "ballot": version, "former": ids, "members": members} | fields)


def membership(names: Iterable[str], me: str = "a", now: float = 0.0, **fields) -> Membership:
    """Of `me`, who follows the record of `names` since `now`."""
    it = Membership(member(me), TIMES, now)
    it.adopt(record_of(names, **fields), now)
    return it


def hear(
    it: Membership, names: Iterable[str], now: float, *, missing: Collection[str] = (), version: int | None = None,
    strangers: Collection[str] = (), confirmed: bool = False, established: bool = False,
) -> None:  # fmt: skip
    """A heartbeat of each, which follows our version unless it is said otherwise."""
    for name in names:
        it.heard(name, now)
        told = it.record.version if version is None else version
        beat = Beat(told, list(missing), list(strangers), False, confirmed, established)
        it.beat(name, beat, now)
