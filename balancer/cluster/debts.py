"""What nodes that are lost have owed: effects for a proxy that it had not acknowledged when they were lost.

A node says with each heartbeat up to which number it owes whom, and at once when it has no way to somebody, before it
says that anything is done. Owns, where it is lost, who is to be told of that, until they know; and where it is owed, up
to which number each run has come, which runs are missed, and whether their clients have to be told. Refuses to take one
proxy's word that a node is gone: it may live, and have another way to us.

A run that has a session with us when `patience` is over may live, and brings what it owes: we wait until that has come,
or the session is over, because it may be dead as well, and the last that it could send still be on a slow way. Of one
that had no session, and has one now, no number is known: it lives, for a session that only looks so, because we were
frozen, is lost within node.heartbeat_timeout.

What ends a debt ends just that: what has come here up to a number says nothing of what is beyond it, and a session that
stands, or a hello, nothing of what others say later, for that may be of later. By time alone only what has closed
clients is over: who came before then is there no more. So one thing may be waited for twice, and nothing is passed
over.

What a request was doing before its reply is done again by the node that gets it next. So of a run that is dead we wait
for that as long as a request may take, and miss nothing if it has come by then, from whichever node.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from math import inf, nextafter
from typing import Any, NamedTuple

from holdfast.balancer.cluster.losses import Losses
from holdfast.balancer.cluster.times import MAX_DRIFT, MAX_SLEEP
from holdfast.protocols.nodes.effects import ALL, MAX_PENDING, Identity, Pending
from holdfast.protocols.peers.ranges import MAX_MEMBERS, MAX_RUNS
from holdfast.protocols.peers.replication import Debt as DebtFrame
from holdfast.protocols.peers.replication import LostRun, Noted, Owed

ASK_INTERVAL = 0.5  # seconds; what is asked may be lost
LATELY = 60.0  # seconds for which a debt is kept to a proxy that is not known, or not any more: it may be frozen
# Times node.heartbeat_timeout, or times WAY_BACK if that is more. A node dials each second, and finds the way by
# another proxy in two; and what only looks like a session with it is over when it was silent for once the timeout.
PATIENCE = 2
WAY_BACK = 2.0  # seconds
MAX_SETTLED = 1000  # runs that are remembered; one that is forgotten and told of again closes clients again
MAX_MERGED = 4 * MAX_PENDING  # requests of a run, by the words of several proxies; of more, nothing is done again
# Of all runs, for all other proxies, and as many for us; of what comes then nothing is. A tenth of a kilobyte each.
MAX_KEPT = 16 * MAX_PENDING
MAX_OWED = 1000  # runs that are kept for each proxy, and missed here; what is more is BEYOND


class Run(NamedTuple):
    """One process of a node."""

    node: str
    incarnation: int


# Any other run, of which nobody knows whether it comes back: it counts as one that never does.
BEYOND = Run("", 0)


class Due(NamedTuple):
    """What a run had for a proxy. number: of the last. final: of the last that no other node does, and requests: the
    others, of which each has come when any node has brought it."""

    number: int
    final: int
    requests: frozenset[Identity] = frozenset()

    def and_all_of(self, other: "Due") -> "Due":
        requests = self.requests | other.requests
        if len(requests) > MAX_MERGED:
            return all_of(max(self.number, other.number))
        return Due(max(self.number, other.number), max(self.final, other.final), requests)


def all_of(number: int) -> Due:
    """No other node does any of it."""
    return Due(number, number)


class Missed(NamedTuple):
    """A run that is lost, and had effects for us. until: so long we wait for it. by: when what its requests were doing
    must have come from others. least: the highest number that was told and is one, and not ALL. sure: a session that
    stands then has not only looked so when ALL was told last."""

    due: Due
    losses: Losses
    until: float
    by: float
    least: int
    sure: float


Owes = Sequence[tuple[str, int]]  # as the node said: proxies, and up to which number


def _dues(owes: Owes, pending: Iterable[Pending]) -> Iterator[tuple[str, Due]]:
    of = {each.proxy: each for each in pending}
    for proxy, number in owes:
        said = of.get(proxy)
        yield proxy, all_of(number) if said is None else Due(number, said.final, frozenset(said.requests))


def _remember(memory: dict[Run, Any], run: Run, value: object) -> None:
    memory[run] = value
    if len(memory) > MAX_SETTLED:
        del memory[next(iter(memory))]


def _question(proxy: str, debt: "Debt", word: int, now: float) -> Owed:
    """As many runs as go into a frame; what their requests were doing is said, up to some tens of kilobytes of it. Of a
    run whose words name more than one may have all counts."""
    runs: list[LostRun] = []
    size = 0
    for run, (due, of_run, lost_at) in debt.runs.items():
        requests = sorted(due.requests) if len(due.requests) <= MAX_PENDING else []
        size += len(requests)
        if runs and (len(runs) == MAX_RUNS or size > 2 * MAX_PENDING):
            break
        final = due.final if requests else due.number
        runs.append(LostRun(*run, due.number, of_run, max(0.0, now - lost_at), final, requests))
    return Owed(proxy, runs, word)


def _bounded(runs: dict[Run, Any], run: Run) -> Run:
    """What it is kept as."""
    return run if run in runs or len(runs) < MAX_OWED else BEYOND


class Owing(NamedTuple):
    """What a run owes. word: the number of the word by which we know it; lost_at: when that was."""

    due: Due
    word: int
    lost_at: float


class Debt:
    """To one proxy. runs: who has owed it, and what. requests: of all of them together."""

    __slots__ = ("asked_at", "requests", "runs", "since")

    def __init__(self, now: float) -> None:
        self.runs: dict[Run, Owing] = {}
        self.requests = 0
        self.asked_at = -inf
        self.since = now

    def add(self, run: Run, due: Due, word: int, now: float) -> None:
        key = _bounded(self.runs, run)
        former = self.forget(key)
        if former is not None:
            due = former.due.and_all_of(due)
        self.runs[key] = Owing(due, word, now)
        self.requests += len(due.requests)

    def noted(self, run: Run, word: int) -> bool:
        """It knows what was said of it up to that word. What we have heard since then it does not know: whether that is
        more does not show in the numbers, of which ALL is one."""
        owing = self.runs.get(run)
        return owing is not None and owing.word <= word and self.forget(run) is not None

    def forget(self, run: Run) -> Owing | None:
        owing = self.runs.pop(run, None)
        if owing is not None:
            self.requests -= len(owing.due.requests)
        return owing


class Debts:
    """heartbeat_timeout: of nodes. come: the number of the last effects of a run of a node that have come in its
    session with us; -1: it has none. done: whether effects of a request have been done here, whichever node had it.
    longest: that a request may take. on_missed: told the node whose effects our clients have missed,
    and since when clients that have come are no longer among them; inf: all are.
    """

    def __init__(
        self,
        proxy: str,
        heartbeat_timeout: float = 0.0,
        come: Callable[[str, int], int] = lambda node, incarnation: -1,
        on_missed: Callable[[str, float], object] = lambda node, before: None,
        done: Callable[[str, int, int], bool] = lambda home, request, part: False,
        longest: float = 0.0,
    ) -> None:
        self._proxy = proxy
        self._patience = PATIENCE * max(heartbeat_timeout, WAY_BACK)
        self._come = come
        self._on_missed = on_missed
        self._done = done
        self._longest = longest
        self._debts: dict[str, Debt] = {}  # by proxy
        self._known: frozenset[str] = frozenset()
        self._word = 0  # of what nodes owe others: it never falls, so that an answer that is late is known for one
        self._missed: dict[Run, Missed] = {}
        self._requests = 0  # of all that is missed
        self._had: dict[Run, int] = {}  # up to which number it had come when its session here was over
        self._settled: dict[Run, Losses] = {}

    def __len__(self) -> int:
        """Runs that we or others miss, and that is not settled."""
        return len(self._missed) + sum(len(debt.runs) for debt in self._debts.values())

    # --- what becomes of nodes ----------------------------------------------------------------------------------------

    def came(self, run: Run) -> None:
        """A session of it begins here. What it says then of whom it owes is of when it said that, and no newer than
        what others have heard."""
        losses = self._settled.get(run)
        if losses is not None and losses.had >= ALL:  # it had said goodbye
            losses.had = 0

    def lost(self, run: Run, owes: Owes, pending: Iterable[Pending], had: int, now: float) -> None:
        """Its session here is over, and that was its last word. had: the number of its last effects that have come."""
        self._had.pop(run, None)
        _remember(self._had, run, had)
        if (missed := self._missed.get(run)) is not None:
            missed.losses.told(self._proxy, 0, now)
        kept = sum(debt.requests for debt in self._debts.values())
        for proxy, due in _dues(owes, pending):
            if proxy == self._proxy:
                self._miss(run, due, (self._proxy, 0, now), now)
                continue
            debt = self._debts.get(proxy)
            if debt is None:
                if len(self._debts) == MAX_MEMBERS and not self._make_room(proxy):
                    continue
                debt = self._debts[proxy] = Debt(now)
            debt.since = now
            kept += len(due.requests)
            self._word += 1
            debt.add(run, due if kept <= MAX_KEPT else all_of(due.number), self._word, now)

    def _make_room(self, proxy: str) -> bool:
        """For a debt to it. A node may say what it likes: those that are not known have what is left by those that
        are."""
        known = self._known
        if proxy not in known:
            return False
        del self._debts[next((each for each in self._debts if each not in known), next(iter(self._debts)))]
        return True

    def left(self, run: Run, owes: Owes) -> None:
        """It has said goodbye here, which is its end: we have all of it, or it says that we have not."""
        if self._proxy not in dict(owes):
            self._over(run).had = ALL

    def received(self, proxy: str, frame: DebtFrame, now: float) -> Noted | None:
        """Returns the answer."""
        if isinstance(frame, Owed):
            return self.told(proxy, frame, now)
        self.answered(proxy, frame)
        return None

    # --- to other proxies ---------------------------------------------------------------------------------------------

    def know(self, proxies: Iterable[str]) -> None:
        """Who has clients, or may have; others need not be told."""
        self._known = frozenset(proxies)

    def questions(self, heard: Collection[str], now: float) -> Iterator[tuple[str, Owed]]:
        """Whom of those that are heard to tell now."""
        for proxy, debt in list(self._debts.items()):
            if proxy not in self._known and now - debt.since > LATELY:
                del self._debts[proxy]
            elif proxy in heard and now - debt.asked_at >= ASK_INTERVAL:
                debt.asked_at = now
                yield proxy, _question(proxy, debt, self._word, now)

    def answered(self, proxy: str, frame: Noted) -> None:
        debt = self._debts.get(proxy)
        if debt is not None:
            if any([debt.noted(Run(*run), frame.word) for run in frame.runs]):
                debt.asked_at = -inf  # there may be more than one frame says
            if not debt.runs:
                del self._debts[proxy]

    # --- as the one who is owed ---------------------------------------------------------------------------------------

    def told(self, by: str, frame: Owed, now: float) -> Noted | None:
        """None: it is said to a former run of us. Seconds are of another clock, and may be too many by MAX_DRIFT:
        whoever may have missed something counts as one who has."""
        if frame.proxy != self._proxy:
            return None
        for each in frame.runs:
            due = Due(each.number, each.final, frozenset(each.requests))
            at = now - each.seconds / (1 + MAX_DRIFT)
            self._miss(Run(each.node, each.incarnation), due, (by, each.word, at), now)
        return Noted([(each.node, each.incarnation) for each in frame.runs], frame.word)

    def _miss(self, run: Run, due: Due, loss: tuple[str, int, float], now: float) -> None:
        """loss: to whom, by which word of it, and when."""
        if self._has(run, due.number):
            return
        key = _bounded(self._missed, run)
        missed = self._missed.get(key)
        losses = missed.losses if missed is not None else self._settled.get(key) or Losses()
        by, word, at = loss
        if due.number <= losses.had or losses.is_over(by, word):
            return
        if by == self._proxy:
            at = max(at, nextafter(losses.closed, inf))  # who was closed in this moment was before
        losses.told(by, 0 if key == BEYOND else word, at)
        if losses.last <= losses.closed:
            self._drop(key)
            return
        if due.requests and self._requests > MAX_KEPT - MAX_PENDING:
            due = all_of(due.number)
        if missed is None:
            until = now + self._patience
            missed = Missed(due, losses, until, until, 0, 0.0)
        all_due = missed.due.and_all_of(due)
        self._drop(key)
        self._requests += len(all_due.requests)
        self._missed[key] = missed._replace(
            due=all_due,
            by=max(missed.by, now + self._longest),
            least=max(missed.least, due.number if due.number < ALL else 0),
            sure=missed.sure if due.number < ALL else now + self._patience,
        )

    def _drop(self, run: Run) -> Missed | None:
        missed = self._missed.pop(run, None)
        if missed is not None:
            self._requests -= len(missed.due.requests)
        return missed

    def _has(self, run: Run, number: int) -> bool:
        return self._had.get(run, 0) >= number

    def _over(self, run: Run, had: int = 0) -> Losses:
        """Nothing of it is missed any more, by what was told. What is known of when it was lost is kept. had: nobody
        misses anything up to that; ALL is no number."""
        missed = self._drop(run)
        former = self._settled.pop(run, None)
        losses = missed.losses if missed is not None else former or Losses()
        if run != BEYOND:
            _remember(self._settled, run, losses)
        losses.over()
        if losses.had < had < ALL:
            losses.had = had
        return losses

    def awoke(self, seconds: float) -> None:
        """We were away, and who came back meanwhile waits to be heard: so much does not count."""
        missed = self._missed.items()
        self._missed = {
            run: each._replace(until=each.until + seconds, by=each.by + seconds, sure=each.sure + seconds)
            for run, each in missed
        }

    def slept(self, seconds: float, *, is_alone: bool) -> None:
        """We were away for so long; others, if there are any, may have forgotten what we are owed."""
        if seconds > MAX_SLEEP and not is_alone:
            self._on_missed("", inf)

    def tick(self, now: float) -> None:
        for run, missed in [each for each in self._missed.items() if now >= each[1].until]:
            come, due = self._come(*run), missed.due
            if -1 < come < missed.least:
                missed.losses.told(self._proxy, 0, now)  # it lives, or may
                self._missed[run] = missed._replace(until=now + self._patience)
            elif come > -1 and now < missed.sure:
                self._missed[run] = missed._replace(until=missed.sure)
            elif come > -1 or self._has(run, due.number) or self._is_done(run, due):
                self._over(run, due.number)  # another proxy may have heard of more, and not be heard yet
            elif due.requests and self._has(run, due.final) and now < missed.by:
                self._missed[run] = missed._replace(until=now + ASK_INTERVAL)
            else:
                losses = self._over(run)
                losses.closed = losses.last
                self._on_missed(run.node, losses.closed)

    def _is_done(self, run: Run, due: Due) -> bool:
        """All that we have not got of it was done by the nodes that had the requests after it."""
        return bool(due.requests) and self._has(run, due.final) and all(self._done(*each) for each in due.requests)
