"""Until when a node may act as master, counted from the grants of several proxies.

Each proxy grants for itself. The node acts while the grants of more than half of a ballot's members stand. Ballots are
counted apart: two majorities of one set of members have a proxy in common, majorities of two sets need not.
Refuses nothing; knows no clock.
"""


class Leases:
    """The grants of the highest epoch that was seen."""

    def __init__(self) -> None:
        self.epoch = 0
        self._quorums: dict[int, int] = {}  # ballot: how many grants it needs
        self._ends: dict[int, dict[str, float]] = {}  # ballot: proxy: when its grant ends

    def saw(self, epoch: int) -> bool:
        """Something of an epoch has come. True: it is the highest, and all grants of former ones are void."""
        if epoch <= self.epoch:
            return False
        self.epoch = epoch
        self.clear()
        return True

    def clear(self) -> None:
        """Void all grants: the node has stopped acting, for good or until it is granted anew."""
        self._quorums.clear()
        self._ends.clear()

    def granted(self, proxy: str, epoch: int, ballot: int, quorum: int, end: float) -> None:
        """A proxy's grant until `end`. One of a former epoch counts for nothing."""
        self.saw(epoch)
        if epoch < self.epoch:
            return
        self._quorums[ballot] = quorum
        ends = self._ends.setdefault(ballot, {})
        ends[proxy] = max(end, ends.get(proxy, end))

    @property
    def end(self) -> float:
        """When acting stops, unless more is granted; -inf: the grants are too few, now and at any time before."""
        best = float("-inf")
        for ballot, ends in self._ends.items():
            quorum = self._quorums[ballot]
            if len(ends) >= quorum:
                best = max(best, sorted(ends.values(), reverse=True)[quorum - 1])
        return best

    def forget_before(self, now: float) -> None:
        """Drop what has run out, so that old ballots do not stay."""
        for ballot, ends in list(self._ends.items()):
            standing = {proxy: end for proxy, end in ends.items() if end > now}
            if standing:
                self._ends[ballot] = standing
            else:
                del self._ends[ballot], self._quorums[ballot]
