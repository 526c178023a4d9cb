"""Memberships in a given state, for the tests of rules one by one."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.times import Times
from holdfast.protocols.peers.frames import Beat, Member, Record

TIMES = Times(
    heartbeat=0.5, heartbeat_timeout=2.0, discover_timeout=3.0, fence_timeout=10.0, takeover_timeout=60.0, lease=2.0,
    spread=5.0,
)  # fmt: skip
LEASE_WAIT = TIMES.lease_wait


def member(name: str, place: str = "", *, is_bound: bool = True, host: str = "host", is_named: bool = True) -> Member:
    return Member(name, f"tcp://10.0.0.1:{place or name}", "pub", host, is_bound, is_named=is_named)


def record_of(names: Iterable[str], version: int = 5, **fields) -> Record:
    """Of a ballot that began with this version; the first is the keeper."""
    members = tuple(map(member, names))
    ids = tuple(m.proxy for m in members)
    return Record(
        version,
        **{"keeper": ids[0], "ballot": version, "former": ids, "members": members, "agreed": TIMES.agreed} | fields,
    )


def membership(names: Iterable[str], me: str = "a", now: float = 0.0, **fields) -> Membership:
    """Of `me`, who follows the record of `names` since `now`."""
    it = Membership(member(me), TIMES, now)
    it.adopt(record_of(names, **fields), now)
    return it


def hear(
    it: Membership, names: Iterable[str], now: float, *, missing: Collection[str] = (), version: int | None = None,
    strangers: Collection[str] = (), confirmed: bool = False, established: bool = False, vacant: bool = False,
    firm: bool | None = None,
) -> None:  # fmt: skip
    """A heartbeat of each, which follows our version unless it is said otherwise. firm: as confirmed."""
    for name in names:
        it.heard(name, now)
        told = it.record.version if version is None else version
        beat = Beat(told, list(missing), list(strangers), False, confirmed, established, vacant=vacant)
        beat = replace(beat, firm=confirmed if firm is None else firm)
        it.beat(name, beat, now)


class Prompt:
    """A keeper that begins each term as soon as it may, and whom no node asks for anything."""

    def __init__(self, replication) -> None:
        self._replication = replication
        replication.keeping = self

    def lead(self, now: float) -> None:
        if self._replication.position[0] < self._replication.term:
            self._replication.begin(0)
        else:
            self._replication.raise_term(self._replication.copy.position[0])

    def begun(self) -> None: ...

    def committed(self, entry) -> None: ...

    def gave_up(self, position, for_position, changes) -> None: ...

    def forsake(self) -> None: ...
