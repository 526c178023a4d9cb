"""How long proxies have been absent from the store: neither a card of theirs, nor a word.

Owns the proof of death by time. Refuses to count any time in which the store was not read.
"""

from collections.abc import Container, Iterable


class Absence:
    """timeout: what proves a death; 0: nothing does. longest_gap: between two reads that count as one observation.

    read_at: when the last answer of the store was asked for.
    """

    def __init__(self, timeout: float, longest_gap: float, now: float) -> None:
        self._timeout = timeout
        self._longest_gap = longest_gap
        self._since: dict[str, float] = {}
        self.read_at = now

    def read(self, members: Iterable[str], present: Container[str], asked: float, now: float) -> None:
        """The store has been read. asked: when that was begun: an answer may have waited in a frozen process."""
        if now - self.read_at > self._longest_gap:
            self._since = {}
        self.read_at = max(self.read_at, asked)
        self._since = {member: self._since.get(member, now) for member in members if member not in present}

    def is_fresh(self, now: float) -> bool:
        """Whether the store was read lately."""
        return now - self.read_at <= self._longest_gap

    def lasts(self, member: str, now: float) -> float:
        """For how long it has been absent; 0.0: it is not, or nobody can tell."""
        return now - self._since.get(member, now) if self.is_fresh(now) else 0.0

    def is_absent(self, member: str, now: float) -> bool:
        """Whether that proves that it is dead."""
        return 0 < self._timeout < self.lasts(member, now)

    def is_proof_against_us(self, now: float) -> bool:
        """Whether others, who do read the store, may come to take us for dead."""
        return self._timeout > 0 and now - self.read_at > self._timeout / 2
