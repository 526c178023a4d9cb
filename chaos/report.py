"""What came of a run: the figures, and which promises do not hold.

Pure. `broken` is empty exactly if nothing was lost; it also says so when nothing could be: a run that asked nothing,
or saw no master, proves nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct

from holdfast.chaos.accounting import Requests, Verdict
from holdfast.chaos.deliveries import Disordered, Missed, Twice
from holdfast.chaos.due import Notifications
from holdfast.chaos.failover import AFTER_FAULT, Failover, Fault, Percentiles
from holdfast.chaos.flood import FloodFigures
from holdfast.chaos.losses import Losses
from holdfast.chaos.masters import Acting, Masters
from holdfast.chaos.openings import Openings
from holdfast.chaos.writes import StateFigures

DEFINITIONS = {
    "failover": "of requests whose reply came from a second node, because the first was lost: from the fault (SIGKILL, "
    "SIGSTOP), or from the request's sending if that was later, to the reply",
    "next": f"of all requests sent within {AFTER_FAULT * 1000:g} ms after a fault of that kind: from sending to reply",
}


class Clients(Struct):
    """dropped: those that were disconnected, by what they were told. moved, away: see chaos.sessions.Moves.
    worst_lag: see Finished.
    """

    count: int
    rate: float
    group: int
    dropped: dict[str, int]
    moved: int
    away: Percentiles
    worst_lag: float


class MasterFigures(Struct):
    """epochs: who acted in which, and when (seconds since the start). killed: faults that hit the master."""

    epochs: list[Acting]
    overlaps: int
    hit: int


class Memory(Struct):
    """Of a proxy in the course of the run, in MiB. most: of all that was measured, once a second."""

    first: float
    median: float
    last: float
    most: float

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "Memory":
        """sizes: bytes, in order. Of a proxy that was away there are none."""
        there = [size for size in sizes if size] or [0]
        figures = (there[0], median(there), there[-1], max(there))
        return cls(*(round(size / (1 << 20), 1) for size in figures))


class Report(Struct):
    """ok: every promise holds. openings: null for one proxy. state, flood: null if there was none. losses: null if the
    proxies are not ours. Times in ms unless said otherwise; cpu: cores in use, on average.
    """

    ok: bool
    broken: list[str]
    seconds: float
    seed: int
    proxies: int
    faults: dict[str, int]
    turns_skipped: int
    clients: Clients
    requests: Requests
    notifications: Notifications
    twice: list[Twice]
    disordered: list[Disordered]
    missed: list[Missed]
    openings: Openings | None
    state: StateFigures | None
    flood: FloodFigures | None
    losses: Losses | None
    masters: MasterFigures
    latency: Percentiles
    failover: dict[str, Failover]
    cpu: dict[str, float]
    memory: dict[str, Memory]
    definitions: dict[str, str]


def broken_promises(
    verdict: Verdict,
    dropped: Mapping[str, int],
    masters: Masters | None,
    openings: Openings | None,
    state: StateFigures | None,
    flood: FloodFigures | None,
    surprises: Sequence[str],
) -> list[str]:
    """dropped: clients whose connection ended for no good reason. masters, openings, state: None if nobody could
    testify.
    """
    requests, notifications = verdict.requests, verdict.notifications
    counted = {
        "requests never answered": requests.unanswered,
        "requests answered twice": requests.answered_twice,
        "replies to the wrong client": requests.wrong_client,
        "replies to no request": requests.stray,
        "errors that no fault explains": requests.unexpected_errors,
        "clients dropped": sum(dropped.values()),
        "notifications missing": notifications.missing,
        "notifications duplicated": notifications.duplicated,
        "notifications again after more than a minute": notifications.too_old,
        "notifications out of order": notifications.out_of_order,
        "notifications of requests that no node answered": notifications.unfounded,
        "announcements of an older master": notifications.old_masters,
        "pairs of masters at once": 0 if masters is None else masters.overlaps(),
    }
    if openings is not None:
        counted |= {
            "openings told to a node twice": openings.opened_twice,
            "closings told to a node twice": openings.closed_twice,
            "closings told to a node that knew of no opening": openings.closed_unopened,
            "closings told to a node while the client was there": openings.closed_early,
            "clients that a node did not know in the end": openings.unknown,
            "clients that a node still knew in the end though they were gone": openings.left_over,
        }
    if state is not None:
        counted |= state.wrong()
    if flood is not None:
        counted |= flood.wrong()
    broken = [f"{count} {what}" for what, count in counted.items() if count]
    if not requests.answered_once:
        broken.append("no request was answered: nothing is proven")
    if masters is not None and not masters.terms():
        broken.append("no node ever acted as master: nothing is proven of masters")
    if openings is not None and not openings.opened:
        broken.append("no node was told of any client: nothing is proven of openings")
    if state is not None and not (state.acknowledged and state.nodes):
        broken.append("no node has shown a state that was written: nothing is proven of it")
    if flood is not None and not flood.delivered:
        broken.append("no listener has heard anything: nothing is proven of floods")
    return [*broken, *surprises]


def since(terms: Sequence[Acting], start: float) -> list[Acting]:
    """With times since the start."""
    return [
        Acting(term.epoch, term.node, round(term.first - start, 3), round(term.last - start, 3), term.acts)
        for term in terms
    ]


def count_kinds(faults: Sequence[Fault]) -> dict[str, int]:
    return dict(Counter(fault.kind for fault in faults))
