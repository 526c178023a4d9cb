"""How long clients waited because of faults.

Pure. Times are seconds of one clock, CLOCK_MONOTONIC, which all processes of a machine share; figures are in
milliseconds.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

AFTER_FAULT = 0.05  # seconds after a fault in which whatever is sent may still meet the lost node
# Faults by which a node loses its requests: its session ends, also by a proxy that does not hear it for a while.
DEATHS = ("kill", "all", "kill-together")  # of nodes
LOSING = (*DEATHS, "freeze-node", "freeze-proxy")
NOTICED = 2.0  # seconds until a proxy that lacks CPU knows of a death; as long as it lets a node be silent
FELT = (*LOSING, "kill-proxy", "kill-store")  # faults after which a request might have to wait


class Fault(Struct):
    """Something that was done to nodes, proxies or the store. at, until: CLOCK_MONOTONIC; until, its end, where there
    is one; struck: when a proxy had been killed, which is later where the machine is busy. node: to whom, for people.
    proxies: numbers of those, from 0, that may lose their clients by it.
    """

    kind: str
    node: str
    at: float
    hit_master: bool = False
    until: float = 0.0
    struck: float = 0.0
    proxies: list[int] = []


def losses(faults: Iterable[Fault], sent: float, done: float) -> int:
    """How many of these may have lost the node of a request that was sent and answered then."""
    return sum(
        fault.kind in LOSING and fault.at <= done and max(fault.at + NOTICED, fault.until) >= sent for fault in faults
    )


class Percentiles(Struct):
    """Of `count` times, in milliseconds."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Percentiles":
        ordered = sorted(seconds)
        if not ordered:
            return cls()
        last = len(ordered) - 1
        p50, p99, most = (round(1000 * ordered[round(last * share)], 1) for share in (0.5, 0.99, 1.0))
        return cls(len(ordered), p50, p99, most)


class Failover(Struct):
    """One kind of fault. redelivered, next: see `failover`."""

    faults: int
    redelivered: Percentiles
    next: Percentiles


def failover(done: Sequence[tuple[float, float, int]], faults: Sequence[Fault]) -> dict[str, Failover]:
    """How long clients waited because of faults. done: (sent, answered, attempt) of answered requests, in order.

    redelivered: of each request that a node lost, from the fault, or from its sending if that was later, to its
    reply. Of the losing faults that began before its reply and, but for AFTER_FAULT, were not over when it was sent, it
    belongs to the one that began nearest to its sending. next: of all that were sent within AFTER_FAULT after a fault,
    from their sending to their reply.
    """
    felt = sorted((fault for fault in faults if fault.kind in FELT), key=lambda fault: fault.at)
    losing = [fault for fault in felt if fault.kind in LOSING]
    losing_at, felt_at = [fault.at for fault in losing], [fault.at for fault in felt]
    redelivered: dict[str, list[float]] = {fault.kind: [] for fault in felt}
    following: dict[str, list[float]] = {fault.kind: [] for fault in felt}
    for sent, answered, attempt in done:
        if attempt > 1:
            possible = [
                fault
                for fault in losing[: bisect_left(losing_at, answered)]
                if sent <= max(fault.at, fault.until) + AFTER_FAULT
            ]
            if possible:
                fault = min(possible, key=lambda fault: abs(fault.at - sent))
                redelivered[fault.kind].append(answered - max(sent, fault.at))
        earlier = bisect_left(felt_at, sent)
        if earlier and sent - felt_at[earlier - 1] <= AFTER_FAULT:
            following[felt[earlier - 1].kind].append(answered - sent)
    counts = Counter(fault.kind for fault in felt)
    return {
        kind: Failover(counts[kind], Percentiles.of(redelivered[kind]), Percentiles.of(following[kind]))
        for kind in redelivered
    }
