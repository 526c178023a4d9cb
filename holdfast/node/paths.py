"""A tree of path patterns: which of many takes a path, in time that does not grow with their number.

The first is the most specific one: segment by segment a word is before a parameter. If nothing lies behind a word, the
parameter beside it is tried.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


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

    def search(self, path: Sequence[str], depth: int = 0) -> Iterator[tuple[ItemT, list[str]]]:
        """Each item whose pattern takes the path, the most specific first, with the values of its parameters in their
        order. Words and values are compared, and given, as they are."""
        if depth == len(path):
            if self.item is not None:
                yield self.item, []
            return
        word = path[depth]
        branch = self._words.get(word)
        if branch is not None:
            yield from branch.search(path, depth + 1)
        if self._parameter is not None and word:
            for item, values in self._parameter.search(path, depth + 1):
                values.insert(0, word)
                yield item, values
