"""In which order things have last changed, so that who asks now and then is told of what did, and of each once.

Owns a list that is appended to with every change, of which only the last entry of a thing counts. Refuses to let it
grow with the number of changes: it is made anew, of those that count, when it is twice as long as that.
"""

from bisect import bisect_right
from typing import Generic, Protocol, TypeVar

SLACK = 1024  # entries that do not count, always allowed


class Changing(Protocol):
    """What changes. change: the number of its last change; 0: it is not there any more, and counts no more."""

    change: int


Thing = TypeVar("Thing", bound=Changing)


class Changes(Generic[Thing]):
    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._things: list[Thing] = []
        self.last = 0  # change

    def add(self, thing: Thing, number_of_things: int) -> None:
        """It has changed. number_of_things: how many there are, at least."""
        self.last += 1
        thing.change = self.last
        self._numbers.append(self.last)
        self._things.append(thing)
        if len(self._numbers) > 2 * number_of_things + SLACK:
            counting = [
                thing for number, thing in zip(self._numbers, self._things, strict=True) if thing.change == number
            ]
            self._things = counting
            self._numbers = [thing.change for thing in counting]

    def since(self, number: int, limit: int) -> list[Thing]:
        """Those whose last change came after that one, at most so many, in the order of their last changes."""
        found: list[Thing] = []
        for at in range(bisect_right(self._numbers, number), len(self._numbers)):
            if len(found) >= limit:
                break
            if self._things[at].change == self._numbers[at]:
                found.append(self._things[at])
        return found
