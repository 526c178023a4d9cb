"""Which of many things that grow is among the largest, without putting them in order.

Owns one ordered table for each power of two. So the one that is named is at least half as large as the largest, and
among its like the one that grew longest ago.
"""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """size: in bytes. change: grows with each change of any. rank: ours."""

    size: int
    change: int
    rank: int


Thing = TypeVar("Thing", bound=Sized)


class Sizes(Generic[Thing]):
    """total: of all sizes."""

    def __init__(self) -> None:
        self._ranks: list[OrderedDict[Thing, None]] = [OrderedDict() for _ in range(64)]
        self.total = 0

    def add(self, thing: Thing) -> None:
        """A new one."""
        self.total += thing.size
        thing.rank = thing.size.bit_length()
        self._ranks[thing.rank][thing] = None

    def change(self, thing: Thing, by: int) -> None:
        """It has grown, or shrunk: its size is changed by that."""
        self.total += by
        thing.size += by
        rank = thing.size.bit_length()
        if rank == thing.rank:
            if by > 0:
                self._ranks[rank].move_to_end(thing)
            return
        del self._ranks[thing.rank][thing]
        thing.rank = rank
        self._ranks[rank][thing] = None

    def remove(self, thing: Thing) -> None:
        self.total -= thing.size
        del self._ranks[thing.rank][thing]

    def largest(self) -> Thing:
        """One of them. There is one."""
        return next(iter(next(rank for rank in reversed(self._ranks) if rank)))

    def longest_unchanged(self) -> Thing:
        """The one that grew longest ago, or one of those that have shrunk since. There is one."""
        return min((next(iter(rank)) for rank in self._ranks if rank), key=lambda thing: thing.change)
