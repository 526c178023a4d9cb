"""A bounded memory of whose effects were done here, so that another node's attempt at a request does not do them again.

A bit for each request: ids of one proxy's requests follow each other, so a block of them costs no more than a few
requests would. Owns two sets of blocks that are exchanged from time to time: what was added is known for at least
`interval`. Refuses to grow beyond its limit: it exchanges them early instead, and counts that.
"""

import sys
from math import inf

BLOCK = 1024  # requests; with less the tables are larger than the bits, with more a home with few effects wastes them
BLOCK_BYTES = 400  # with its key, and its place in the table

Key = tuple[str, int, int]


class Remembered:
    """max_bytes: of all that is held. early: how often the time was cut short by that."""

    def __init__(self, max_bytes: int, interval: float) -> None:
        self._half = max(1, max_bytes // (2 * BLOCK_BYTES))
        self._interval = interval
        self._turns_at = inf
        self._present: dict[Key, int] = {}
        self._past: dict[Key, int] = {}
        self.early = 0

    def __len__(self) -> int:
        """Blocks that are held."""
        return len(self._present) + len(self._past)

    def add(self, home: str, request: int, part: int) -> bool:
        """Whether this is new. What is known already is not held any longer for that."""
        # Parts of one reply come in order, so of all but the first the highest will do.
        home = sys.intern(home)  # one string for all blocks
        key = (home, 0, request // BLOCK) if part <= 1 else (home, 1, request)
        present, past = self._present.get(key, 0), self._past.get(key, 0)
        if part <= 1:
            bit = 1 << request % BLOCK
            if (present | past) & bit:
                return False
            value = present | bit
        elif part <= max(present, past):
            return False
        else:
            value = part
        if not present and len(self._present) >= self._half:
            self.early += 1
            self._turn()
        self._present[key] = value
        return True

    def knows(self, home: str, request: int, part: int) -> bool:
        """Whether it was added, and not forgotten since."""
        key = (home, 0, request // BLOCK) if part <= 1 else (home, 1, request)
        present, past = self._present.get(key, 0), self._past.get(key, 0)
        return bool((present | past) >> request % BLOCK & 1) if part <= 1 else part <= max(present, past)

    def tick(self, now: float) -> None:
        """Now and then: forget what is old enough."""
        if self._turns_at == inf:
            self._turns_at = now + self._interval
        if now >= self._turns_at:
            self._turns_at = now + self._interval
            self._turn()

    def _turn(self) -> None:
        self._past = self._present
        self._present = {}
