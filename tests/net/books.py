"""The books of clients that move: what was sent, what came of it, and what should have been heard.

Pure. As chaos.accounting, but a client may lose its connection and have another, at another proxy. What is
promised is promised to a connection: one that was in the channel before a request was sent, and that stands in the
end, hears of the request exactly once if it was answered; every other one at most once. Whether a request that ended in
an error was carried out is not promised.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from holdfast.chaos.failover import Percentiles
from holdfast.chaos.writes import StateFigures

OPEN, ANSWERED, FAILED, GONE = "open", "answered", "failed", "gone"  # gone: with its connection


class Request(Struct):
    sent_at: float
    done_at: float = 0.0
    outcome: str = OPEN


class Connection(Struct, kw_only=True):
    """Since it was in its channel. heard: how often, by (client, request). highest: number, by the node's run."""

    client: int
    joined_at: float
    is_open: bool = True
    heard: Counter[tuple[int, int]]
    highest: dict[int, int] = {}


class Seen(Struct):
    """What clients saw. errors: of requests, by kind. closed: connections, by what they were told.

    late: notifications that came more than a second after their request was sent; latest: the last of them, in seconds.
    unexpected: errors that trying again would not help. unfounded: of requests that nobody sent, or another group did.
    old_masters: announcements of an epoch below one heard before. latency: of answers, in ms. state: of writes to it.
    """

    sent: int = 0
    answered: int = 0
    errors: dict[str, int] = {}
    gone: int = 0
    unanswered: int = 0
    redelivered: int = 0
    answered_twice: int = 0
    wrong_client: int = 0
    stray: int = 0
    unexpected: int = 0
    due: int = 0
    missing: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    unfounded: int = 0
    late: int = 0
    latest: float = 0.0
    old_masters: int = 0
    closed: dict[str, int] = {}
    latency: Percentiles = msgspec.field(default_factory=Percentiles)
    state: StateFigures = msgspec.field(default_factory=StateFigures)


class Books:
    """group: so many clients share a channel; they are neighbours by number. Times: seconds of one clock."""

    def __init__(self, clients: int, group: int) -> None:
        self._group = group
        self._requests: list[list[Request]] = [[] for _ in range(clients)]
        self._connections: list[Connection | None] = [None] * clients
        self._all: list[Connection] = []
        self._epochs = [0] * clients
        self._seen = Seen()
        self._errors: Counter[str] = Counter()
        self._closed: Counter[str] = Counter()
        self.open = 0

    # --- what happens

    def joined(self, client: int, at: float) -> None:
        """A client has a connection, which is in its channel."""
        self._connections[client] = connection = Connection(client=client, joined_at=at, heard=Counter())
        self._all.append(connection)

    def ended(self, client: int, why: str) -> None:
        """That connection is over."""
        self._closed[why] += 1
        connection = self._connections[client]
        if connection is not None:
            connection.is_open = False
        self._connections[client] = None
        for request in self._requests[client]:
            if request.outcome == OPEN:
                request.outcome = GONE
                self.open -= 1

    def sent(self, client: int, at: float) -> int:
        """The request's number."""
        self._requests[client].append(Request(at))
        self.open += 1
        return len(self._requests[client]) - 1

    def replied(self, client: int, number: int | None, asker: int, attempt: int, at: float) -> None:
        """asker: the client that asked, as the node echoes it."""
        if asker != client:
            self._seen.wrong_client += 1
        else:
            self._seen.redelivered += attempt > 1
            self._settle(client, number, ANSWERED, at)

    def failed(self, client: int, number: int | None, error: str, retryable: bool, at: float) -> None:
        self._errors[error] += 1
        self._seen.unexpected += not retryable
        self._settle(client, number, FAILED, at)

    def _settle(self, client: int, number: int | None, outcome: str, at: float) -> None:
        requests = self._requests[client]
        if number is None or not 0 <= number < len(requests):
            self._seen.stray += 1
        elif requests[number].outcome != OPEN:
            self._seen.answered_twice += 1
        else:
            requests[number].outcome = outcome
            requests[number].done_at = at
            self.open -= 1

    def stray(self) -> None:
        """Something comes that is no answer to anything."""
        self._seen.stray += 1

    def notified(self, client: int, sender: int, request: int, run: int, number: int, at: float) -> None:
        """client hears of (sender, request): the run's `number`th notification in this channel."""
        seen, connection = self._seen, self._connections[client]
        is_ours = sender // self._group == client // self._group and 0 <= sender < len(self._requests)
        if connection is None or not is_ours or not 0 <= request < len(self._requests[sender]):
            seen.unfounded += 1
            return
        after = at - self._requests[sender][request].sent_at
        seen.late += after > 1.0
        seen.latest = max(seen.latest, after)
        connection.heard[sender, request] += 1
        if connection.heard[sender, request] > 1:
            seen.duplicated += 1
        elif number > connection.highest.get(run, 0):
            connection.highest[run] = number
        else:
            seen.out_of_order += 1

    def announced(self, client: int, epoch: int) -> None:
        self._seen.old_masters += epoch < self._epochs[client]
        self._epochs[client] = max(self._epochs[client], epoch)

    # --- what came of it

    def missing(self) -> tuple[int, int]:
        """Notifications that are due to connections which stand, and how many of these have not come."""
        due = missing = 0
        for connection in self._all:
            if connection.is_open:
                first = connection.client // self._group * self._group
                for sender, requests in enumerate(self._requests[first : first + self._group], first):
                    for number, request in enumerate(requests):
                        if request.outcome == ANSWERED and request.sent_at > connection.joined_at:
                            due += 1
                            missing += not connection.heard[sender, number]
        return due, missing

    def is_complete(self) -> bool:
        return self.open == 0 and self.missing()[1] == 0

    def seen(self) -> Seen:
        seen = self._seen
        requests = [request for requests in self._requests for request in requests]
        outcomes = Counter(request.outcome for request in requests)
        seen.sent = len(requests)
        seen.answered, seen.gone, seen.unanswered = outcomes[ANSWERED], outcomes[GONE], outcomes[OPEN]
        seen.errors, seen.closed = dict(self._errors), dict(self._closed)
        seen.due, seen.missing = self.missing()
        seen.latest = round(seen.latest, 1)
        seen.latency = Percentiles.of([r.done_at - r.sent_at for r in requests if r.outcome == ANSWERED])
        return seen


def broken(seen: Seen) -> Sequence[str]:
    """What of it no partition excuses."""
    never = ("unanswered", "answered_twice", "wrong_client", "stray", "unexpected", "missing", "duplicated")
    names = (*never, "out_of_order", "unfounded", "old_masters")
    wrong = [f"{name}: {getattr(seen, name)}" for name in names if getattr(seen, name)]
    if seen.sent != seen.answered + sum(seen.errors.values()) + seen.gone + seen.unanswered:
        wrong.append(f"{seen.sent} sent, and not as many accounted for")
    return wrong + [f"{what}: {count}" for what, count in seen.state.wrong().items() if count]
