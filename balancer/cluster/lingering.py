"""Members that were evicted, and may live and have their clients for a while: nodes keep those, and keys that they own.

Owns until when. Whoever comes after an eviction has not seen it, nor has who missed a record. So the record names those
who are out of it, for who finds nobody left to ask: they count from then on as if they were evicted now. Members know
better, and tell how long it is with their heartbeats. Refuses whoever is proven dead by another's address, and whoever
is in again.
"""

from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from holdfast.protocols.peers.frames import Evicted, Member, Record


class Stay(NamedTuple):
    """is_guess: we have read of it only."""

    member: Member
    until: float
    is_guess: bool = False


class Lingering:
    """grace: for how long they count as there. sleep: for how long one that was frozen may come back with its clients;
    whoever was away for longer closes them."""

    def __init__(self, grace: float, sleep: float = 0.0) -> None:
        self._grace = grace
        self._rest = max(0.0, sleep - grace)
        self._stays: dict[str, Stay] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._stays)

    def followed(self, former: Record, record: Record, but: Container[str], now: float) -> None:
        """Another record is followed now. but: of whom we know better."""
        until = now + self._grace
        for member in former.members:
            if member.proxy not in but:
                self._stays[member.proxy] = Stay(member, until)
        # Of the next record we know better whom it may name yet, and whose time is over.
        if not former.members or record.version != former.version + 1:
            for member in record.gone:
                if member.proxy not in but and member.proxy not in self._stays:
                    self._stays[member.proxy] = Stay(member, until, is_guess=True)
        self.prune(record, now)

    def told(self, evicted: Iterable[Evicted], but: Container[str], now: float) -> None:
        """By another's heartbeat."""
        for one in evicted:
            proxy = one.member.proxy
            if proxy not in but and (proxy not in self._stays or self._stays[proxy].is_guess):
                self._stays[proxy] = Stay(one.member, now + min(one.left, self._grace))

    def discard(self, proxy: str) -> None:
        self._stays.pop(proxy, None)

    def prune(self, record: Record, now: float) -> None:
        """Forget whose time is over, who is in this record, and who is proven dead by one that is."""
        ids = record.ids
        self._stays = {
            proxy: stay
            for proxy, stay in self._stays.items()
            if proxy not in ids
            and now <= stay.until + self._rest
            and not any(other.outlives(stay.member) for other in record.members)
        }

    def members(self, now: float) -> list[Member]:
        return [stay.member for stay in self._stays.values() if now <= stay.until]

    def asleep(self, now: float) -> list[Member]:
        """With those whose grace is over, and who may come back."""
        return [stay.member for stay in self._stays.values() if now <= stay.until + self._rest]

    def say(self, now: float) -> list[Evicted]:
        """For a heartbeat."""
        return [Evicted(stay.member, stay.until - now) for stay in self._stays.values() if now < stay.until]
