"""When a run of a node was lost, by whose word, and what of that is over.

Owns the two ways in which time counts: of one word of another proxy the earliest moment that it names, and that who was
closed is there no more.
"""

from math import inf


class Losses:
    """When a run was lost, to whom, by our clock, at the latest. A proxy says for how long it has been, and that is too
    little by what this was under way to us: of one loss, which is one word of it, the earliest that was told counts.

    closed: clients that came before then are closed. had: nobody misses anything up to that number, whenever it was
    lost.
    """

    __slots__ = ("_last", "_over", "closed", "had")

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}  # by proxy: the number of its word, and when
        self._over: dict[str, int] = {}  # by proxy: the last word of it that is over
        self.closed = -inf
        self.had = 0

    @property
    def last(self) -> float:
        """Who has come to us since has missed nothing of it."""
        return max((at for _, at in self._last.values()), default=-inf)

    def told(self, proxy: str, word: int, at: float) -> None:
        """word: 0 is none of a proxy's words; the latest of these counts."""
        former, before = self._last.get(proxy, (0, -inf))
        if word > former:
            self._last[proxy] = word, at
        elif word == former:
            self._last[proxy] = word, (min if word else max)(before, at)

    def is_over(self, proxy: str, word: int) -> bool:
        """It says again what it has said: our answer was lost."""
        return 0 < word <= self._over.get(proxy, 0)

    def over(self) -> None:
        """All that was told is."""
        self._over = {proxy: word for proxy, (word, _) in self._last.items()}
