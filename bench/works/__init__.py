"""The measurements, one file for each kind. Each takes a freshly started system and gives one sample.

The load generators check every result.
"""

from bench.works import (
    failover,
    fan_out,
    history,
    http,
    idle,
    large,
    latency,
    node_library,
    pauses,
    processes,
    round_trip,
    storm,
)
from bench.works.base import Work

WORKS: tuple[Work, ...] = (
    *round_trip.WORKS,
    *latency.WORKS,
    *http.WORKS,
    *fan_out.WORKS,
    *history.WORKS,
    *idle.WORKS,
    *pauses.WORKS,
    *storm.WORKS,
    *failover.WORKS,
    *processes.WORKS,
    *large.WORKS,
    *node_library.WORKS,
)
GROUPS = tuple(dict.fromkeys(work.group for work in WORKS))
