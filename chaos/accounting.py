"""The books of a run: what was sent, what came of it, and what of the promises does not hold.

Pure: told what each client sends and hears, it says in the end what was lost. Owns requests and notifications; who
acted as master is chaos.masters's, who was connected where is chaos.sessions's. Clients come in groups of
neighbours, one channel for each group; every request asks for one notification to the group it is from. A notification
is due exactly once at each member if its request was answered by a node.

With one proxy it is due at nobody if not, because effects travel with replies. With several a request may have done
what it does without an answer, if it failed; with one as with several if its client's connection ended: then its
notification may come once. The same is true at a client that lost its connection, for what was on its way then (or was
kept from its proxy by a fault) and for what was sent until it had joined its channel again; but not for what a run of
a node published between two notifications that the client heard over one connection: that is due whatever happened.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from holdfast.chaos.deliveries import TOLD, Disordered, Ears, Missed, Published, Twice
from holdfast.chaos.due import (
    ANSWERED,
    AWAY,
    FAILED,
    GONE,
    OLDEST,
    ON_THE_WAY,
    OPEN,
    Notifications,
    compared,
    count,
    while_away,
)
from holdfast.chaos.failover import Failover, Fault, Percentiles, failover, losses
from holdfast.protocols.close import Reason

QUARANTINED = Reason.QUARANTINED.value  # the error of a request that two nodes were lost with


class Requests(Struct):
    """sent = answered_once + errors + answered_twice + unanswered + gone.

    gone: with the connection of a client that went for another. wrong_client: replies to what another client
    asked. stray: replies to what nobody asked. errors: by kind. unexpected_errors: those that no fault
    explains: trying again would not help. A request that two nodes were lost with is explained by two faults.
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
    """twice, disordered, missed: TOLD each of the notifications that came twice, out of order, or not though due."""

    requests: Requests
    notifications: Notifications
    twice: list[Twice]
    disordered: list[Disordered]
    missed: list[Missed]
    dropped: dict[str, int]  # clients that were disconnected, by what they were told
    latency: Percentiles
    failover: dict[str, Failover]


class _Client:
    """One client's requests, by their numbers, and what it has heard of each neighbour's."""

    __slots__ = ("attempts", "away", "done_at", "ears", "highest_epoch", "is_dropped", "outcomes", "sent_at")

    def __init__(self, neighbours: int) -> None:
        self.sent_at = array("d")
        self.done_at = array("d")
        self.outcomes = bytearray()
        self.attempts = bytearray()
        self.ears = Ears(neighbours)
        self.highest_epoch = 0
        self.away: list[tuple[float, float]] = []  # what may have passed it by: due.while_away
        self.is_dropped = False


class Accounting:
    """group: how many clients share a channel. is_cluster: of several proxies. Times: seconds of one clock."""

    def __init__(self, clients: int, group: int, *, is_cluster: bool = False) -> None:
        self.group = group
        self._is_cluster = is_cluster
        self._clients = [
            _Client(min(group, clients - index // group * group))  # the last group may be smaller
            for index in range(clients)
        ]
        self._published = [Published() for _ in range(0, clients, group)]
        self._requests = Requests(errors={})
        self._heard_twice: list[Twice] = []
        self._heard_again: list[Twice] = []
        self._disordered: list[Disordered] = []
        self._again = self._too_old = 0
        self._again_after = 0.0
        self._twice: set[tuple[int, int]] = set()
        self._errors: Counter[str] = Counter()
        self._quarantined: list[tuple[float, float]] = []  # sent, answered
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
            if error == QUARANTINED:
                self._quarantined.append((self._clients[client].sent_at[number], at))
            elif not retryable:
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

    def notified(self, client: int, sender: int, request: int, run: int, number: int, at: float) -> None:
        """`client` hears the notification of (sender, request), which is the run's `number`th in this channel."""
        ears = self._clients[client].ears
        group = client // self.group
        place = sender - group * self.group
        if not 0 <= place < len(ears.heard) or not 0 <= request < len(self._clients[sender].outcomes):
            self._unfounded += 1
            return
        self.notified_count += 1
        before = ears.hear(place, request, at)
        if before is not None:
            is_again = before < ears.began
            is_too_old = is_again and self._came_again(sender, request, before, at)
            told = self._heard_again if is_again and not is_too_old else self._heard_twice
            if len(told) < TOLD:
                sent = self._clients[sender].sent_at[request]
                told.append(Twice(client, sender, request, run, number, sent, before, ears.came, at))
            if not is_again:
                return  # that it is out of order as well says nothing more
        if ears.is_next(run, number):
            self._published[group].add(run, number, place, request)
        else:
            self._out_of_order += 1
            if len(self._disordered) < TOLD:
                sent = self._clients[sender].sent_at[request]
                self._disordered.append(Disordered(client, sender, request, run, number, ears.last(run), sent, at))

    def _came_again(self, sender: int, request: int, before: float, at: float) -> bool:
        """Over another connection, after it was heard at `before`. Whether that breaks a promise."""
        answered = self._clients[sender].done_at[request]
        after = at - min(before, answered or before)
        self._again += 1
        self._again_after = max(self._again_after, after)
        is_too_old = after > OLDEST
        self._too_old += is_too_old
        return is_too_old

    def announced(self, client: int, epoch: int) -> None:
        """`client` hears a master of this epoch."""
        books = self._clients[client]
        if epoch < books.highest_epoch:
            self._old_masters += 1
        else:
            books.highest_epoch = epoch

    def moves(self, client: int, at: float, lag: float = 0.0) -> None:
        """The connection of `client` ended; it looks for another. Whether it had to is not for these books.

        lag: so long ago it may have been.
        """
        books = self._clients[client]
        books.ears.moves(at)
        if not books.away or books.away[-1][1] < inf:
            books.away.append((at - lag - ON_THE_WAY, inf))
        number = books.outcomes.find(OPEN)
        while number >= 0:
            books.outcomes[number] = GONE
            books.done_at[number] = at
            self.open -= 1
            self._gone += 1
            number = books.outcomes.find(OPEN, number)

    def moved(self, client: int, at: float) -> None:
        """It has joined its channel again."""
        books = self._clients[client]
        books.ears.came = at
        books.away[-1] = (books.away[-1][0], at)

    def excused(self, client: int, since: float, until: float) -> None:
        """What was answered since then, and sent until then, may have passed `client` by."""
        self._clients[client].away.append((since, until))

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
        wrong += self._dropped.total() + self._out_of_order + self._too_old
        return wrong + self._unfounded + self._old_masters

    def is_complete(self) -> bool:
        """Nothing is due any more."""
        return self.open == 0 and self.notifications().missing == 0

    def notifications(self) -> Notifications:
        told = Notifications(
            again=self._again,
            again_after=round(self._again_after, 3),
            too_old=self._too_old,
            out_of_order=self._out_of_order,
            unfounded=self._unfounded,
            old_masters=self._old_masters,
        )
        for index, client in enumerate(self._clients):
            told.published += client.outcomes.count(ANSWERED)
            if not client.is_dropped:  # that is counted as such; what it did not hear since is part of it
                count(b"".join(self._heard(index)), told, is_cluster=self._is_cluster)
        return told

    def _heard(self, index: int) -> Iterator[bytes]:
        """For each neighbour what came of his requests at `index` (due.compared)."""
        for outcomes, heard in zip(self._outcomes(index), self._clients[index].ears.heard, strict=True):
            yield compared(outcomes, heard)

    def _outcomes(self, index: int) -> list[bytearray]:
        """For each neighbour what came of his requests, as it is to `index`."""
        client = self._clients[index]
        neighbours = self._neighbours(index)
        if not client.away:
            return [neighbour.outcomes for neighbour in neighbours]
        changed = [while_away(one.outcomes, one.sent_at, one.done_at, client.away) for one in neighbours]
        for place, request in self._between(index):
            if changed[place][request] == AWAY:
                changed[place][request] = ANSWERED
        return changed

    def _neighbours(self, index: int) -> list[_Client]:
        first = index // self.group * self.group
        return self._clients[first : first + self.group]

    def _between(self, index: int) -> Iterator[tuple[int, int]]:
        """Place and request of what a run published between two that `index` heard over one connection.

        Of a request that had several attempts another run may have told it before.
        """
        neighbours = self._neighbours(index)
        published = self._published[index // self.group]
        for gap in self._clients[index].ears.gaps:
            for place, request in published.between(*gap):
                if not neighbours[place].attempts[request]:
                    yield place, request

    def _missed(self) -> Iterator[Missed]:
        for index, client in enumerate(self._clients):
            if client.is_dropped:
                continue
            between = set(self._between(index))
            first = index // self.group * self.group
            for place, (outcomes, heard) in enumerate(zip(self._outcomes(index), client.ears.heard, strict=True)):
                sender = self._clients[first + place]
                for request, outcome in enumerate(outcomes):
                    if outcome == ANSWERED and not (request < len(heard) and heard[request]):
                        times = sender.sent_at[request], sender.done_at[request]
                        yield Missed(index, first + place, request, *times, (place, request) in between)

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
        notifications = self.notifications()
        requests = self.requests()
        unexplained = sum(losses(faults, *times) < 2 for times in self._quarantined)
        return Verdict(
            requests=replace(requests, unexpected_errors=requests.unexpected_errors + unexplained),
            notifications=notifications,
            twice=[*self._heard_twice, *self._heard_again],
            disordered=self._disordered,
            missed=list(islice(self._missed(), TOLD)) if notifications.missing else [],
            dropped=dict(self._dropped),
            latency=Percentiles.of([done - sent for sent, done, _ in done]),
            failover=failover(done, faults),
        )
