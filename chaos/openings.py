"""What nodes were told of clients' openings and closings, by their own testimony.

Pure. Every run of a node must be told of each client once, of its closing at most once and only when it is true, and in
the end must know exactly the clients that are there. A run that has ended testifies for the time until then.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct


class Openings(Struct):
    """What all runs of nodes were told, together.

    opened_twice, closed_twice: the second and later times. closed_unopened: of clients that it had not been told of.
    closed_early: while the connection was there. unknown: clients that were there in the end, and a node that was too
    did not know. left_over: the other way round.
    """

    runs: int = 0
    opened: int = 0
    closed: int = 0
    opened_twice: int = 0
    closed_twice: int = 0
    closed_unopened: int = 0
    closed_early: int = 0
    unknown: int = 0
    left_over: int = 0

    @property
    def is_right(self) -> bool:
        wrong = self.opened_twice + self.closed_twice + self.closed_unopened + self.closed_early
        return not wrong + self.unknown + self.left_over


class _Run:
    __slots__ = ("closed", "opened")

    def __init__(self) -> None:
        self.opened: dict[int, float] = {}
        self.closed: dict[int, float] = {}


class Testimony:
    """runs: of nodes, by their pids."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}
        self._told = Openings()

    def take(self, at: float, what: str, run: int, client: int) -> None:
        """A node was told at `at` that a client came ("opened") or went ("closed")."""
        told, books = self._told, self._runs.setdefault(run, _Run())
        if what == "opened":
            told.opened += 1
            told.opened_twice += client in books.opened
            books.opened.setdefault(client, at)
        else:
            told.closed += 1
            told.closed_twice += client in books.closed
            told.closed_unopened += client not in books.opened
            books.closed.setdefault(client, at)

    def is_up_to_date(self, ends: Mapping[int, float | None], running: Iterable[int]) -> bool:
        """Whether all these nodes know who is there, and who is not."""
        present = _present(ends)
        return all(self._knows(run) == present for run in running)

    def _knows(self, run: int) -> set[int]:
        """The clients that this run of a node takes for connected."""
        books = self._runs.get(run, _Run())
        return books.opened.keys() - books.closed.keys()

    def verdict(self, ends: Mapping[int, float | None], running: Iterable[int]) -> Openings:
        """At the end. ends: of all clients (chaos.sessions.ends). running: the nodes that are there."""
        told = self._told
        told.runs = len(self._runs)
        told.closed_early = sum(
            client in ends and ((end := ends[client]) is None or at < end)
            for books in self._runs.values()
            for client, at in books.closed.items()
        )
        present = _present(ends)
        known = [self._knows(run) for run in running]
        told.unknown = sum(len(present - one) for one in known)
        told.left_over = sum(len(one - present) for one in known)
        return told


def _present(ends: Mapping[int, float | None]) -> set[int]:
    return {client for client, end in ends.items() if end is None}
