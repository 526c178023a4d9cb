"""Which nodes proxies have lost and why, by the logs of both; and what was lost with each quarantined request.

Pure. A proxy loses a node that has died, whose link broke, or that was silent for too long; a node gives up a proxy
likewise. On a machine that is short of CPU silence is no fault of ours (chaos.faults), nor has a request caused it, but
the request counts it: its handler may have begun. So the report tells these apart. What explains a quarantined request
is not decided here: what a log says is the word of whom we test.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from holdfast.chaos.deliveries import TOLD

EVENTS = ("node_lost", "link_lost", "request_quarantined", "effects_missing", "closes_clients")
SILENCE = re.compile(r"silent for|nothing came for|stood still for")  # as the gateway and nodes' sessions say it
FIGURES = re.compile(r" for [\d.]+ s.*| within [\d.]+ s.*")  # what would make each reason one of its own


class Loss(Struct):
    """A proxy has lost a node that had requests. at: seconds since the start."""

    at: float
    node: str
    why: str
    in_flight: int


class Quarantined(Struct):
    """Requests with which a proxy lost the same. request: the first of them, as it numbers it. lost: what it lost
    within their time, in order, the last with them. One of those before had each of them too.
    """

    proxy: str
    count: int
    request: int
    attempts: int
    at: float
    lost: list[Loss]

    @property
    def is_of_silence(self) -> bool:
        return any(SILENCE.search(loss.why) for loss in self.lost)


class Missing(Struct):
    """A proxy has closed so many clients, because of what a lost node had for them. node "": all of them, since it was
    fenced for too long; clients is 0."""

    proxy: str
    at: float
    node: str
    clients: int


class Losses(Struct):
    """by_proxies, by_nodes: how often they gave each other up, by why. quarantined: requests; of_silence: those within
    whose time some proxy or node was given up for its silence, or for its own. told: the first TOLD kinds.
    missing: whom proxies closed with a word that they missed something.
    """

    by_proxies: dict[str, int] = {}
    by_nodes: dict[str, int] = {}
    quarantined: int = 0
    of_silence: int = 0
    told: list[Quarantined] = []
    missing: list[Missing] = []


def losses(proxies: Mapping[str, str], nodes: Mapping[str, str], start: float, timeout: float) -> Losses:
    """proxies, nodes: their logs, by name, as they were written. start: of the run, by time.time(). timeout: how long a
    request may take, in seconds.
    """
    by_proxies: Counter[str] = Counter()
    by_nodes: Counter[str] = Counter()
    silences: list[float] = []  # at nodes
    quarantined: list[Quarantined] = []
    missing: list[Missing] = []
    latest: dict[str, Quarantined] = {}  # by proxy
    for log in nodes.values():
        for line in _lines(log):
            if line["event"] == "link_lost":
                by_nodes[_kind(line["reason"])] += 1
                if SILENCE.search(line["reason"]):
                    silences.append(_at(line, start))
    for proxy, log in proxies.items():
        lost: dict[object, list[Loss]] = {}  # by worker
        for line in _lines(log):
            at, worker = _at(line, start), line.get("worker")
            if line["event"] == "node_lost":
                by_proxies[_kind(line["why"])] += 1
                if line["in_flight"]:
                    lost.setdefault(worker, []).append(Loss(at, line["node"], line["why"], line["in_flight"]))
            elif line["event"] in ("effects_missing", "closes_clients"):
                missing.append(Missing(proxy, at, line.get("node", ""), line.get("clients", 0)))
            elif line["event"] == "request_quarantined":
                name = proxy if worker is None else f"{proxy}, worker {worker}"
                with_it = [loss for loss in lost.get(worker, ()) if at - loss.at <= timeout]
                last = latest.get(name)
                if last is None or last.lost != with_it:
                    last = latest[name] = Quarantined(name, 0, line["request"], line["attempts"], at, with_it)
                    quarantined.append(last)
                last.count += 1
    count = sum(one.count for one in quarantined)
    of_silence = sum(
        one.count for one in quarantined if one.is_of_silence or any(0.0 <= one.at - at <= timeout for at in silences)
    )
    return Losses(dict(by_proxies), dict(by_nodes), count, of_silence, quarantined[:TOLD], missing)


def _lines(log: str) -> Iterator[dict[str, Any]]:
    """Those of EVENTS. One that is cut off, or in another format, says nothing."""
    for text in log.splitlines():
        if any(event in text for event in EVENTS):
            try:
                line = msgspec.json.decode(text)
            except msgspec.DecodeError:
                continue
            if isinstance(line, dict) and line.get("event") in EVENTS:
                yield line


def _at(line: dict[str, Any], start: float) -> float:
    return round(datetime.fromisoformat(line["timestamp"]).timestamp() - start, 3)


def _kind(why: str) -> str:
    return FIGURES.sub("", why)
