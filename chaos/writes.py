"""What clients have nodes write into the shared state, and what must be in it in the end, at every node.

Pure. A write is acknowledged by the reply of a node that has applied it. From then on it is in the state of every node,
whatever happened to nodes, proxies and the store meanwhile. What was not acknowledged may have been done or not; and
what more than one node was asked for may be done late, by the first one, when that wakes.

set     a key of its own, which stays
delete  a key that was set so, and by one node only: it does not come back
again   one of a few keys, to the next value when the one before is settled: no older one comes back
count   a number is raised by compare-and-set, by each write once, whichever nodes were asked for it
own     a key that its client owns: it is there as long as the client is
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct, field

from holdfast.chaos.failover import Percentiles

KINDS = ("set", "count", "again", "own", "count", "delete")
REGISTERS = 8  # keys that are set again and again
PER_COUNTER = 200  # writes, a third of which raise the same number, so that nodes compete and values stay small
OPEN, DONE, REFUSED, FAILED, GONE = "open", "done", "refused", "failed", "gone"  # gone: with its connection

Value = Any  # of a key, as JSON has it
Contents = Mapping[str, Value]


class Write(Struct):
    """One. client: the number of who asked; session: his id, as nodes know it. floor: the highest version of which a
    client had heard when it was sent. is_last: sent when all faults were mended.
    """

    number: int
    kind: str
    key: str
    client: int
    session: int
    sent_at: float
    floor: int
    is_last: bool = False
    outcome: str = OPEN
    done_at: float = 0.0
    attempt: int = 0

    @property
    def is_sure(self) -> bool:
        """It was done, and nobody will do it once more."""
        return self.outcome == DONE and self.attempt == 1


class StateFigures(Struct):
    """Of writes by their outcomes; and what is wrong.

    answered_twice: or by somebody whom nobody asked. lost: acknowledged, and not in the state of a node. returned: keys
    that were deleted and are there, and those with an older value than acknowledged. counted_wrong: by how much
    counters are off, all together. left_over: keys of clients that have gone. unfounded: keys that nobody has set.
    reordered: acknowledged with a version that is not above what was known before. stuck: not done though all was
    mended. nodes: that showed their state; differing: from the first of them. pause: the longest time without an
    acknowledged write, in seconds.
    """

    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    failed: int = 0
    gone: int = 0
    unanswered: int = 0
    answered_twice: int = 0
    lost: int = 0
    returned: int = 0
    counted_wrong: int = 0
    left_over: int = 0
    unfounded: int = 0
    reordered: int = 0
    stuck: int = 0
    nodes: int = 0
    differing: int = 0
    pause: float = 0.0
    latency: Percentiles = field(default_factory=Percentiles)

    def wrong(self) -> dict[str, int]:
        """Each must be 0."""
        return {
            "state writes never answered": self.unanswered,
            "state writes answered twice": self.answered_twice,
            "state writes acknowledged and lost": self.lost,
            "state writes undone": self.returned,
            "increments of the state lost or doubled": self.counted_wrong,
            "keys of clients that have gone": self.left_over,
            "keys that nobody has set": self.unfounded,
            "state writes acknowledged out of order": self.reordered,
            "state writes not done though all was mended": self.stuck,
            "nodes whose state differs": self.differing,
        }


class Book(Struct):
    """What was asked for, by number, and what came of it; the counts are those of StateFigures."""

    writes: list[Write] = []
    answered_twice: int = 0
    reordered: int = 0


class Writes:
    """Keeps the book."""

    def __init__(self) -> None:
        self.book = Book()
        self._open: dict[int, Write] = {}
        self._registers = deque(f"again:{number}" for number in range(REGISTERS))
        self._to_delete: deque[str] = deque()
        self._highest = 0

    @property
    def is_complete(self) -> bool:
        return not self._open

    def next(self, client: int, session: int, at: float, *, is_last: bool = False) -> Write:
        """What `client` asks for now."""
        number = len(self.book.writes)
        kind, key = self._choose(number)
        write = Write(number, kind, key, client, session, at, self._highest, is_last)
        self.book.writes.append(write)
        self._open[number] = write
        return write

    def _choose(self, number: int) -> tuple[str, str]:
        kind = KINDS[number % len(KINDS)]
        if kind == "count":
            return kind, f"count:{number // PER_COUNTER}"
        if kind == "delete" and self._to_delete:
            return kind, self._to_delete.popleft()
        if kind == "again" and self._registers:
            return kind, self._registers.popleft()
        return ("own", f"own:{number}") if kind == "own" else ("set", f"set:{number}")

    def answered(self, client: int, number: int, is_done: bool, version: int, attempt: int, at: float) -> None:
        """By a node. version: of what was written, or of what is there since, at that node; 0: nobody knows."""
        write = self._settle(client, number, DONE if is_done else REFUSED, at)
        if write is None:
            return
        write.attempt = attempt
        if write.is_sure:  # what another attempt has done may be older
            self.book.reordered += 0 < version <= write.floor
            if write.kind == "set":
                self._to_delete.append(write.key)
        self._highest = max(self._highest, version)

    def failed(self, client: int, number: int, at: float) -> None:
        """By a typed error."""
        self._settle(client, number, FAILED, at)

    def moves(self, client: int, at: float) -> None:
        """The connection of `client` ended."""
        for write in [write for write in self._open.values() if write.client == client]:
            self._settle(client, write.number, GONE, at)

    def _settle(self, client: int, number: int, outcome: str, at: float) -> Write | None:
        write = self._open.pop(number, None)
        if write is None or write.client != client:
            self.book.answered_twice += 1
            return None
        write.outcome, write.done_at = outcome, at
        if write.kind == "again":
            self._registers.append(write.key)
        return write


def audit(book: Book, states: Sequence[Contents], ends: Mapping[int, float | None]) -> StateFigures:
    """states: of each node, in the end. ends: of clients, by their ids (chaos.sessions.ends)."""
    writes = book.writes
    outcomes = Counter(write.outcome for write in writes)
    done = [write for write in writes if write.outcome == DONE]
    acknowledged = sorted(write.done_at for write in done)
    figures = StateFigures(
        sent=len(writes),
        acknowledged=len(done),
        refused=outcomes[REFUSED],
        failed=outcomes[FAILED],
        gone=outcomes[GONE],
        unanswered=outcomes[OPEN],
        answered_twice=book.answered_twice,
        reordered=book.reordered,
        stuck=sum(write.is_last and write.outcome != DONE for write in writes),
        nodes=len(states),
        differing=sum(state != states[0] for state in states),
        latency=Percentiles.of([write.done_at - write.sent_at for write in done]),
    )
    figures.pause = round(max((later - earlier for earlier, later in pairwise(acknowledged)), default=0.0), 1)
    by_key: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        by_key[write.key].append(write)
    for state in _distinct(states):
        for key, of_key in by_key.items():
            _check(of_key, state.get(key), ends, figures)
        figures.unfounded += sum(key not in by_key for key in state)
    return figures


def _distinct(states: Iterable[Contents]) -> list[Contents]:
    """Each once: what all nodes lack is lost once."""
    distinct: list[Contents] = []
    for state in states:
        if state not in distinct:
            distinct.append(state)
    return distinct


def _check(writes: Sequence[Write], value: Value, ends: Mapping[int, float | None], figures: StateFigures) -> None:
    """All writes of one key, in the order of their sending. value: None if it is not there."""
    first = writes[0]
    match first.kind:
        case "count":
            _check_counter(writes, value, figures)
        case "again":
            done = [write.number for write in writes if write.outcome == DONE]
            late = [write.number for write in writes if not write.is_sure]
            if value is None:
                figures.lost += bool(done)
            elif value not in (*done[-1:], *late):
                figures.returned += 1
        case "own":
            if ends.get(first.session, 0.0) is not None:
                figures.left_over += value is not None
            else:
                figures.lost += first.outcome == DONE and value != first.number
        case _:
            deletions = writes[1:]
            if any(write.outcome == DONE for write in deletions):
                figures.returned += value is not None
            elif first.outcome == DONE and (value is not None or not deletions):
                figures.lost += value != first.number


def _check_counter(writes: Sequence[Write], value: Value, figures: StateFigures) -> None:
    """value: how often it was raised; and by which writes, at which attempt of theirs."""
    count, numbers = (0, []) if value is None else (value["count"], [number for number, _ in value["by"]])
    asked = {write.number for write in writes}
    missing = {write.number for write in writes if write.outcome == DONE} - set(numbers)
    doubled = len(numbers) - len(set(numbers))
    figures.counted_wrong += len(missing) + len(set(numbers) - asked) + doubled + abs(count - len(numbers))
