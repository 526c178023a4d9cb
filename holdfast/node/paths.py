"""A tree of path patterns: which of many takes a path, in time that does not grow with their number.

The first is the most specific one: segment by segment a word is before a parameter. If nothing lies behind a word, the
parameter beside it is tried.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
FoundT = TypeVar("FoundT")


class Branch(Generic[ItemT]):
    """What follows one segment of a path. item: what stands where a pattern ends; None: none ends here."""

    __slots__ = ("_parameter", "_words", "item")

    def __init__(self) -> None:
        self._words: dict[str, Branch[ItemT]] = {}
        self._parameter: Branch[ItemT] | None = None
        self.item: ItemT | None = None

    def grow(self, pattern: Sequence[str | None]) -> "Branch[ItemT]":
        """The branch at the end of a pattern of words, and None for parameters; made if it is not there."""
        branch = self
        for word in pattern:
            if word is not None:
                branch = branch._words.setdefault(word, Branch())
            else:
                branch._parameter = branch = branch._parameter or Branch()
        return branch

    def find(
        self, path: Sequence[str], take: Callable[[ItemT], FoundT | None], depth: int = 0
    ) -> tuple[FoundT, list[str]] | None:
        """What `take` makes of the first item whose pattern takes the path, if it makes something of it; the most
        specific one comes first. With the values of its parameters, in their order. Words and values are compared, and
        given, as they are."""
        if depth == len(path):
            found = None if self.item is None else take(self.item)
            return None if found is None else (found, [])
        word = path[depth]
        branch = self._words.get(word)
        if branch is not None:
            result = branch.find(path, take, depth + 1)
            if result is not None:
                return result
        if self._parameter is not None and word:
            result = self._parameter.find(path, take, depth + 1)
            if result is not None:
                result[1].insert(0, word)
                return result
        return None
