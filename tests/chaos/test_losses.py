import json
from datetime import UTC, datetime

import pytest

from holdfast.chaos.losses import Loss, Losses, Missing, Quarantined, losses

START = 1_800_000_000.0


def line(at, event, **what):
    return json.dumps({"timestamp": datetime.fromtimestamp(START + at, UTC).isoformat(), "event": event, **what})


def lost(at, node, why, in_flight=3, **what):
    return line(at, "node_lost", node=node, pid=1, why=why, in_flight=in_flight, **what)


def quarantined(at, request=7, **what):
    return line(at, "request_quarantined", request=request, client=1, attempts=2, node="b", **what)


def log(*lines):
    return "\n".join(lines)


def test_who_gave_whom_up_and_why():
    proxies = {
        "proxy-1": log(lost(1.0, "a", "silent for 2.1 s"), lost(2.0, "b", "silent for 3.4 s"), lost(3.0, "c", "bye")),
        "proxy-2": log(lost(1.0, "a", "disconnected"), line(1.0, "node_left", node="b", why="said bye")),
    }
    nodes = {
        "node-1": log(
            line(1.0, "link_lost", address="x", reason="nothing came for 2.0 s"),
            line(9.0, "link_lost", address="x", reason="this process stood still for 3.1 s: stopped, or a handler"),
        )
    }
    assert losses(proxies, nodes, START, 10.0) == Losses(
        by_proxies={"silent": 2, "bye": 1, "disconnected": 1},
        by_nodes={"nothing came": 1, "this process stood still": 1},
    )


def test_a_quarantined_request_is_told_with_what_its_proxy_had_lost_in_its_time():
    proxy = log(
        lost(1.0, "z", "disconnected"),  # too long ago
        lost(6.0, "y", "disconnected", in_flight=0),  # had none
        lost(7.0, "x", "silent for 2.1 s", worker=1),  # another proxy
        lost(8.0, "a", "disconnected", worker=0),
        lost(12.0, "b", "its process died", worker=0),
        quarantined(12.001, worker=0),
        quarantined(12.002, request=9, worker=1),
        quarantined(12.003, request=8, worker=0),
    )
    figures = losses({"proxy": proxy}, {}, START, 10.0)
    assert figures.told == [
        Quarantined(
            "proxy, worker 0", 2, 7, 2, 12.001,
            [Loss(8.0, "a", "disconnected", 3), Loss(12.0, "b", "its process died", 3)],
        ),
        Quarantined("proxy, worker 1", 1, 9, 2, 12.002, [Loss(7.0, "x", "silent for 2.1 s", 3)]),
    ]  # fmt: skip
    assert (figures.quarantined, figures.of_silence) == (3, 1)


@pytest.mark.parametrize(
    ("why", "reason", "of_silence"),
    [
        ("disconnected", "the connection was lost", 0),
        ("silent for 2.1 s", "the connection was lost", 1),
        ("disconnected", "nothing came for 2.0 s", 1),
        ("disconnected", "this process stood still for 2.5 s: stopped, or a handler that does not await", 1),
    ],
)
def test_who_was_given_up_for_silence_is_told_apart(why, reason, of_silence):
    proxy = log(lost(8.0, "a", why), lost(12.0, "b", "its process died"), quarantined(12.0), quarantined(30.0))
    node = line(7.0, "link_lost", address="x", reason=reason)
    figures = losses({"proxy": proxy}, {"node-1": node}, START, 10.0)
    assert (figures.quarantined, figures.of_silence) == (2, of_silence)
    assert figures.told[1].lost == []


def test_what_is_no_line_says_nothing():
    proxy = log("node_lost", '{"event": "node_lo', '["node_lost"]', line(1.0, "serving", node="node_lost"))
    assert losses({"proxy": proxy}, {}, START, 10.0) == Losses()


def test_whom_proxies_closed_for_what_they_have_missed():
    proxies = {
        "proxy-1": log(
            line(14.7, "effects_missing", node="node-3", clients=335), lost(10.7, "node-3", "its process died")
        ),
        "proxy-2": log(line(60.0, "closes_clients", fenced_for=10.0)),
    }
    assert losses(proxies, {}, START, 10.0).missing == [
        Missing("proxy-1", 14.7, "node-3", 335),
        Missing("proxy-2", 60.0, "", 0),
    ]
