"""What came of a run: the figures, and which promises do not hold.

Pure. `broken` is empty exactly if nothing was lost; it also says so when nothing could be: a run that asked nothing,
or saw no master, proves nothing.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from proxy.chaos.accounting import Notifications, Requests, Verdict
from proxy.chaos.failover import AFTER_FAULT, Failover, Fault, Percentiles
from proxy.chaos.masters import Acting, Masters

DEFINITIONS = {
    "failover": "of requests whose reply came from a second node, because the first was lost: from the fault (SIGKILL, "
    "SIGSTOP), or from the request's sending if that was later, to the reply",
    "next": f"of all requests sent within {AFTER_FAULT * 1000:g} ms after such a fault: from sending to reply",
}


class Clients(Struct):
    """dropped: those that were disconnected, by what they were told. worst_lag: see Finished. cpu: cores in use."""

    count: int
    rate: float
    group: int
    dropped: dict[str, int]
    worst_lag: float


class MasterFigures(Struct):
    """epochs: who acted in which, and when (seconds since the start). killed: faults that hit the master."""

    epochs: list[Acting]
    overlaps: int
    hit: int


class Report(Struct):
    """ok: every promise holds. Times in ms unless said otherwise; cpu: cores in use, on average."""

    ok: bool
    broken: list[str]
    seconds: float
    seed: int
    faults: dict[str, int]
    turns_skipped: int
    clients: Clients
    requests: Requests
    notifications: Notifications
    masters: MasterFigures
    latency: Percentiles
    failover: dict[str, Failover]
    cpu: dict[str, float]
    definitions: dict[str, str]


def broken_promises(verdict: Verdict, masters: Masters | None, surprises: Sequence[str]) -> list[str]:
    """masters: None if nobody could testify."""
    requests, notifications = verdict.requests, verdict.notifications
    counted = {
        "requests never answered": requests.unanswered,
        "requests answered twice": requests.answered_twice,
        "replies to the wrong client": requests.wrong_client,
        "replies to no request": requests.stray,
        "errors that no fault explains": requests.unexpected_errors,
        "clients dropped": sum(verdict.dropped.values()),
        "notifications missing": notifications.missing,
        "notifications duplicated": notifications.duplicated,
        "notifications out of order": notifications.out_of_order,
        "notifications of requests that no node answered": notifications.unfounded,
        "announcements of an older master": notifications.old_masters,
        "pairs of masters at once": 0 if masters is None else masters.overlaps(),
    }
    broken = [f"{count} {what}" for what, count in counted.items() if count]
    if not requests.answered_once:
        broken.append("no request was answered: nothing is proven")
    if masters is not None and not masters.terms():
        broken.append("no node ever acted as master: nothing is proven of masters")
    return [*broken, *surprises]


def since(terms: Sequence[Acting], start: float) -> list[Acting]:
    """With times since the start."""
    return [
        Acting(term.epoch, term.node, round(term.first - start, 3), round(term.last - start, 3), term.acts)
        for term in terms
    ]


def count_kinds(faults: Sequence[Fault]) -> dict[str, int]:
    return dict(Counter(fault.kind for fault in faults))
