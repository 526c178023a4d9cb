"""The books of a run: what was sent, what came of it, and what of the promises does not hold.

Pure: told what each client sends and hears, it says in the end what was lost. Owns requests and notifications; who
acted as master is chaos.masters's, who was connected where is chaos.sessions's. Clients come in groups of
neighbours, one channel for each group; every request asks for one notification to the group it is from. A notification
is due exactly once at each member if its request was answered by a node.

With one proxy it is due at nobody if not, because effects travel with replies. With several a request may have done
what it does without an answer, if it failed; with one as with several if its client's connection ended: then its
notification may come once. The same is true for a client that lost its connection, from a little before that (or before
what was done to its proxy) until a little after it has joined its channel again.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf

from msgspec import Struct

from holdfast.chaos.due import ANSWERED, FAILED, GONE, MOST, OPEN, Notifications, compared, count, while_away
from holdfast.chaos.failover import Failover, Fault, Percentiles, failover


class Requests(Struct):
    """sent = answered_once + errors + answered_twice + unanswered + gone.

    gone: with the connection of a client that went for another. wrong_client: replies to what another client
    asked. stray: replies to what nobody asked. errors: by kind. unexpected_errors: those of a kind that no fault
    explains, because trying again would not help.
    """

    sent: int = 0
    answered_once: int = 0
    answered_twice: int = 0
    unanswered: int = 0
    gone: int = 0
    wrong_client: int = 0
    stray: int = 0
    redelivered: int = 0
    errors: dict[str, int] = {}
    unexpected_errors: int = 0


class Verdict(Struct):
    requests: Requests
    notifications: Notifications
    dropped: dict[str, int]  # clients that were disconnected, by what they were told
    latency: Percentiles
    failover: dict[str, Failover]


class _Client:
    """One client's requests, by their numbers, and what it has heard of each neighbour's."""

    __slots__ = (
        "attempts", "away", "done_at", "heard", "highest_epoch", "is_dropped", "numbers", "outcomes", "sent_at",
    )  # fmt: skip

    def __init__(self, neighbours: int) -> None:
        self.sent_at = array("d")
        self.done_at = array("d")
        self.outcomes = bytearray()
        self.attempts = bytearray()
        self.heard = [bytearray() for _ in range(neighbours)]  # how often, by the neighbour's request
        self.numbers: dict[int, int] = {}  # the last number of each run of a node
        self.highest_epoch = 0
        self.away: list[tuple[float, float]] = []  # from when until when it was on the move
        self.is_dropped = False


class Accounting:
    """group: how many clients share a channel. is_cluster: of several proxies. Times: seconds of one clock.

    lag: how late, at most, clients have noticed what happened to them, as far as their process can tell.
    """

    def __init__(self, clients: int, group: int, *, is_cluster: bool = False) -> None:
        self.group = group
        self.lag = 0.0
        self._is_cluster = is_cluster
        self._clients = [
            _Client(min(group, clients - index // group * group))  # the last group may be smaller
            for index in range(clients)
        ]
        self._requests = Requests(errors={})
        self._twice: set[tuple[int, int]] = set()
        self._errors: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._out_of_order = 0
        self._unfounded = 0
        self._old_masters = 0
        self._abandoned = 0  # requests of dropped clients: unanswered for good
        self._gone = 0
        self.open = 0
        self.done = 0
        self.notified_count = 0

    # --- what happens -----------------------------------------------------------------------------------------

    def sent(self, client: int, at: float) -> int:
        """A client sends its next request. Its number."""
        books = self._clients[client]
        books.sent_at.append(at)
        books.done_at.append(0.0)
        books.outcomes.append(OPEN)
        books.attempts.append(0)
        self._requests.sent += 1
        self.open += 1
        return len(books.sent_at) - 1

    def replied(self, client: int, number: int | None, asker: int, attempt: int, at: float) -> float | None:
        """A node's reply reaches `client`. asker: the client that asked, as the node echoes it.

        How long it took, if it is the reply that was due.
        """
        if asker != client:
            self._requests.wrong_client += 1
            return None
        if number is None or not self._settle(client, number, ANSWERED, at):
            return None
        books = self._clients[client]
        if attempt > 1:
            self._requests.redelivered += 1
            books.attempts[number] = min(attempt, 255)
        return at - books.sent_at[number]

    def unasked(self) -> None:
        """Something reaches a client that is no answer to anything."""
        self._requests.stray += 1

    def failed(self, client: int, number: int | None, error: str, retryable: bool, at: float) -> None:
        """A typed error reaches `client` in place of a reply."""
        if number is None:
            self.unasked()
        elif self._settle(client, number, FAILED, at):
            self._errors[error] += 1
            if not retryable:
                self._requests.unexpected_errors += 1

    def _settle(self, client: int, number: int, outcome: int, at: float) -> bool:
        """Whether this is the first answer to a request."""
        books = self._clients[client]
        if not 0 <= number < len(books.outcomes):
            self.unasked()
            return False
        if books.outcomes[number] != OPEN:
            self._twice.add((client, number))
            return False
        books.outcomes[number] = outcome
        books.done_at[number] = at
        self.open -= 1
        self.done += 1
        return True

    def notified(self, client: int, sender: int, request: int, run: int, number: int) -> None:
        """`client` hears the notification of (sender, request), which is the run's `number`th in this channel."""
        books = self._clients[client]
        first = client // self.group * self.group
        if not first <= sender < first + len(books.heard) or not 0 <= request < len(self._clients[sender].outcomes):
            self._unfounded += 1
            return
        heard = books.heard[sender - first]
        if request >= len(heard):
            heard.extend(bytes(request + 1 - len(heard)))
        self.notified_count += 1
        if heard[request]:
            heard[request] = min(heard[request] + 1, MOST)
            return  # doubled; that it is out of order as well says nothing more
        heard[request] = 1
        if number > books.numbers.get(run, 0):
            books.numbers[run] = number
        else:
            self._out_of_order += 1

    def announced(self, client: int, epoch: int) -> None:
        """`client` hears a master of this epoch."""
        books = self._clients[client]
        if epoch < books.highest_epoch:
            self._old_masters += 1
        else:
            books.highest_epoch = epoch

    def moves(self, client: int, at: float) -> None:
        """The connection of `client` ended; it looks for another. Whether it had to is not for these books."""
        books = self._clients[client]
        if not books.away or books.away[-1][1] < inf:
            books.away.append((at, inf))
        number = books.outcomes.find(OPEN)
        while number >= 0:
            books.outcomes[number] = GONE
            books.done_at[number] = at
            self.open -= 1
            self._gone += 1
            number = books.outcomes.find(OPEN, number)

    def moved(self, client: int, at: float) -> None:
        """It has joined its channel again."""
        away = self._clients[client].away
        away[-1] = (away[-1][0], at)

    def excused(self, client: int, ended: float, since: float) -> None:
        """The connection that `client` lost at `ended` was no good since `since`."""
        away = self._clients[client].away
        away[:] = [(min(begun, since), until) if begun <= ended <= until else (begun, until) for begun, until in away]

    def dropped(self, client: int, why: str) -> None:
        """The connection of `client` ended, not by its own wish, and it finds no other."""
        books = self._clients[client]
        if not books.is_dropped:
            books.is_dropped = True
            self._dropped[why] += 1
            abandoned = books.outcomes.count(OPEN)
            self.open -= abandoned
            self._abandoned += abandoned

    # --- what came of it --------------------------------------------------------------------------------------

    def requests(self) -> Requests:
        """As it stands. What is unanswered may still be answered."""
        so_far = self._requests
        so_far.errors = dict(self._errors)
        so_far.unanswered = self.open + self._abandoned
        so_far.gone = self._gone
        twice = failed_twice = 0
        for client, number in self._twice:
            twice += 1
            failed_twice += self._clients[client].outcomes[number] == FAILED
        so_far.answered_twice = twice
        so_far.answered_once = self.done - sum(self._errors.values()) - (twice - failed_twice)
        return so_far

    @property
    def lost(self) -> int:
        """As far as it can be known while it goes on."""
        requests = self._requests
        wrong = len(self._twice) + requests.wrong_client + requests.stray + requests.unexpected_errors
        return wrong + self._dropped.total() + self._out_of_order + self._unfounded + self._old_masters

    def is_complete(self) -> bool:
        """Nothing is due any more."""
        return self.open == 0 and self.notifications().missing == 0

    def notifications(self) -> Notifications:
        told = Notifications(out_of_order=self._out_of_order, unfounded=self._unfounded, old_masters=self._old_masters)
        for index, client in enumerate(self._clients):
            told.published += client.outcomes.count(ANSWERED)
            if not client.is_dropped:  # that is counted as such; what it did not hear since is part of it
                count(b"".join(self._heard(index)), told, is_cluster=self._is_cluster)
        return told

    def _heard(self, index: int) -> Iterator[bytes]:
        """For each neighbour what came of his requests at `index` (due.compared)."""
        client = self._clients[index]
        first = index // self.group * self.group
        for offset, heard in enumerate(client.heard):
            neighbour = self._clients[first + offset]
            outcomes = neighbour.outcomes
            if client.away:
                outcomes = while_away(outcomes, neighbour.sent_at, neighbour.done_at, client.away, self.lag)
            yield compared(outcomes, heard)

    def verdict(self, faults: Sequence[Fault] = ()) -> Verdict:
        """At the end. faults: those that happened meanwhile."""
        done = [
            (sent, done, attempts)
            for client in self._clients
            for sent, done, outcome, attempts in zip(
                client.sent_at, client.done_at, client.outcomes, client.attempts, strict=True
            )
            if outcome == ANSWERED
        ]
        done.sort()
        return Verdict(
            requests=self.requests(),
            notifications=self.notifications(),
            dropped=dict(self._dropped),
            latency=Percentiles.of([done - sent for sent, done, _ in done]),
            failover=failover(done, faults),
        )
