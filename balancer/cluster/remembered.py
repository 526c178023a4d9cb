"""A bounded memory of what was done, so that it is not done again.

Owns two sets that are exchanged by `turn`: what was added is known for at least the time between two turns. Refuses to
grow beyond its limit: it turns early instead, and counts that.
"""

from collections.abc import Hashable


class Remembered:
    """limit: how many keys may be held in all. early: how often the time was cut short by it."""

    def __init__(self, limit: int) -> None:
        if limit < 2:
            raise ValueError(f"expected a limit of at least 2, got {limit}")
        self._half = limit // 2
        self._present: set[Hashable] = set()
        self._past: set[Hashable] = set()
        self.early = 0

    def __len__(self) -> int:
        return len(self._present) + len(self._past)

    def add(self, key: Hashable) -> bool:
        """Whether the key is new. One that is known already is not held any longer for that."""
        if key in self._present or key in self._past:
            return False
        if len(self._present) >= self._half:
            self.early += 1
            self.turn()
        self._present.add(key)
        return True

    def turn(self) -> None:
        """Forget what was added before the last turn."""
        self._past = self._present
        self._present = set()
