"""Questions to other proxies: how many members has a channel with you? Is this client gone that was yours?

Owns those that are not answered yet. Refuses more of them than LIMIT; one that nobody answers in time counts 0.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import count
from typing import TypeVar

from holdfast.protocols.peers.frames import CountIs, WantCount, WantKick

LIMIT = 1000

Q = TypeVar("Q", WantCount, WantKick)
Counted = Callable[[Mapping[str, int]], object]


class Question:
    __slots__ = ("counts", "ends", "told", "waits_for")

    def __init__(self, waits_for: Collection[str], counts: dict[str, int], ends: float, told: Counted) -> None:
        self.waits_for = set(waits_for)
        self.counts = counts
        self.ends = ends
        self.told = told


class Counting:
    def __init__(self) -> None:
        self._numbers = count()
        self._open: dict[int, Question] = {}

    def ask(
        self, what: Callable[[int], Q], ours: dict[str, int], peers: Collection[str], ends: float, told: Counted
    ) -> Q | None:
        """What to ask these peers. None: too much is being asked.

        what: the question, by its number. ours: what is known already. told: called once, with the counts by proxy, at
        `ends` at the latest.
        """
        if len(self._open) >= LIMIT:
            return None
        number = next(self._numbers)
        self._open[number] = Question(peers, ours, ends, told)
        return what(number)

    def answered(self, peer: str, answer: CountIs) -> None:
        question = self._open.get(answer.ask)
        if question is not None and peer in question.waits_for:
            question.waits_for.discard(peer)
            question.counts[peer] = answer.count
            if not question.waits_for:
                del self._open[answer.ask]
                question.told(question.counts)

    def expire(self, now: float) -> None:
        for number, question in [(n, q) for n, q in self._open.items() if now >= q.ends]:
            del self._open[number]
            question.told(question.counts)
