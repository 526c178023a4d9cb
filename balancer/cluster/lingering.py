"""Members that were evicted, and may live and have their clients for a while: nodes keep those, and keys that they own.

Owns until when. Whoever comes after an eviction has not seen it, nor has who missed a record. So the record names those
who are out of it, for who finds nobody left to ask: they count from then on as if they were evicted now. Members know
better, and tell how long it is with their heartbeats. Refuses whoever is proven dead by another's address, and whoever
is in again.
"""

from collections.abc import Container, Iterable, Iterator

from holdfast.protocols.peers.frames import Evicted, Member, Record


class Lingering:
    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._until: dict[str, tuple[Member, float]] = {}
        self._guessed: set[str] = set()  # of which we have read only

    def __iter__(self) -> Iterator[str]:
        return iter(self._until)

    def followed(self, former: Record, record: Record, but: Container[str], now: float) -> None:
        """Another record is followed now. but: of whom we know better."""
        for member in former.members:
            if member.proxy not in but:
                self._until[member.proxy] = (member, now + self._grace)
                self._guessed.discard(member.proxy)
        # Of the next record we know better whom it may name yet, and whose time is over.
        if not former.members or record.version != former.version + 1:
            for member in record.gone:
                if member.proxy not in but and member.proxy not in self._until:
                    self._until[member.proxy] = (member, now + self._grace)
                    self._guessed.add(member.proxy)
        self.prune(record, now)

    def told(self, evicted: Iterable[Evicted], but: Container[str], now: float) -> None:
        """By another's heartbeat."""
        for one in evicted:
            proxy = one.member.proxy
            if proxy not in but and (proxy not in self._until or proxy in self._guessed):
                self._until[proxy] = (one.member, now + min(one.left, self._grace))
                self._guessed.discard(proxy)

    def discard(self, proxy: str) -> None:
        self._until.pop(proxy, None)

    def prune(self, record: Record, now: float) -> None:
        """Forget whose time is over, who is in this record, and who is proven dead by one that is."""
        ids = record.ids
        self._until = {
            proxy: (member, until)
            for proxy, (member, until) in self._until.items()
            if proxy not in ids and now <= until and not any(other.outlives(member) for other in record.members)
        }
        self._guessed.intersection_update(self._until)

    def members(self, now: float) -> list[Member]:
        return [member for member, until in self._until.values() if now <= until]

    def say(self, now: float) -> list[Evicted]:
        """For a heartbeat."""
        return [Evicted(member, until - now) for member, until in self._until.values() if now < until]
