"""Who acted as master, by the testimony of the nodes themselves.

Pure. A node that acts as master says so every few milliseconds, with the clock that all processes of a machine share,
read before it acts. Two acted at the same time if an older epoch's last act is after a newer one's first, or if an
epoch has two nodes. A node that dies or freezes says nothing any more, and does nothing either.
"""

from msgspec import Struct


class Acting(Struct):
    """One epoch. first, last: when its node began and was last seen acting; acts: how often it was."""

    epoch: int
    node: str
    first: float
    last: float
    acts: int = 1


class Masters:
    def __init__(self) -> None:
        self._terms: dict[tuple[int, str], Acting] = {}

    def acted(self, at: float, epoch: int, node: str) -> bool:
        """A node acts. True: it is the first time in this epoch."""
        term = self._terms.get((epoch, node))
        if term is None:
            self._terms[epoch, node] = Acting(epoch, node, at, at)
            return True
        term.first = min(term.first, at)
        term.last = max(term.last, at)
        term.acts += 1
        return False

    def terms(self) -> list[Acting]:
        """By epoch."""
        return sorted(self._terms.values(), key=lambda term: (term.epoch, term.first))

    def overlaps(self) -> int:
        """Pairs of masters that acted at the same time, or in the same epoch."""
        terms = self.terms()
        return sum(
            older.last > newer.first or older.epoch == newer.epoch
            for index, newer in enumerate(terms)
            for older in terms[:index]
        )
