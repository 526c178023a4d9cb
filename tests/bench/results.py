"""Results as a run leaves them, small enough to reckon by hand."""

from bench.results import Conditions, Result
from bench.works.base import Goal, Metric

CONDITIONS = Conditions("2026-01-02 03:04 UTC", "quick", "2 CPUs of a kind", {"Holdfast": "1.2.3", "nginx": "1.22"})
CPU = Metric("cpu_us", "CPU per message", "us")
RATE = Metric("per_second", "per second", "", 0)

ROUND_TRIP = Result(
    group="round-trip",
    name="Round trip, 10 < 20 & more",
    metrics=(CPU, RATE),
    goals=(Goal("cpu_us", 0.9, "nginx"), Goal("per_second", 0.7, "nginx", at_least=True)),
    samples={
        "nginx": [
            {"cpu_us": 10.0, "per_second": 1000.0, "cpu_share": 0.99, "rest_share": 0.5, "foreign_share": 0.2},
            {"cpu_us": 20.0, "per_second": 1000.0, "cpu_share": 0.99, "rest_share": 0.5, "foreign_share": 0.2},
            {"cpu_us": 30.0, "per_second": 1000.0, "cpu_share": 0.99, "rest_share": 0.5, "foreign_share": 0.2},
        ],
        "Pushpin": [{"cpu_us": 80.0}, {"cpu_us": 80.0}, {"cpu_us": 80.0}],
        "Holdfast": [
            {"cpu_us": 8.0, "per_second": 600.0, "cpu_share": 0.99, "rest_share": 0.5, "foreign_share": 0.0},
            {"cpu_us": 8.0, "per_second": 600.0, "cpu_share": 0.99, "rest_share": 0.5, "foreign_share": 0.0},
            {"cpu_us": 30.0, "per_second": 800.0, "cpu_share": 0.99, "rest_share": 0.5, "foreign_share": 0.0},
        ],
    },
    conditions=CONDITIONS,
)
ALONE = Result(
    group="failover",
    name="Failover of one node",
    metrics=(Metric("p99_ms", "p99", "ms", 1),),
    goals=(Goal("p99_ms", 20.0),),
    samples={"Holdfast": [{"p99_ms": 12.0}, {"p99_ms": 10.0}, {"p99_ms": 15.0}]},
    conditions=CONDITIONS,
)
UNCOMPARED = Result(
    group="more",
    name="Something by itself",
    metrics=(Metric("pauses", "pauses", "", 0),),
    goals=(Goal("pauses", 1.0, "a peer that did not take part"),),
    samples={"Holdfast": [{"pauses": 3.0}]},
    conditions=CONDITIONS,
)
RESULTS = [ROUND_TRIP, ALONE, UNCOMPARED]
