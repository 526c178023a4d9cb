import os

import pytest

from holdfast.chaos.failover import Percentiles
from holdfast.chaos.flood import MESSAGE_BYTES, FloodFigures, Order, Orders, Published, give, pack
from holdfast.chaos.listeners import Count

RUN = 7


@pytest.fixture
def count():
    """It has heard 1 to 3 of a run that began after it had joined."""
    count = Count(joined_at=1.0)
    for number in (1, 2, 3):
        count.heard(RUN, 2.0, number)
    return count


def result(count):
    return count.delivered, count.missing, count.doubled


def test_all_came(count):
    assert result(count) == (3, 0, 0)
    assert count.lacks(Published(1, RUN, 2.0, 3, 3)) == 0


def test_a_hole(count):
    count.heard(RUN, 2.0, 6)
    assert result(count) == (4, 2, 0)


def test_the_first_ones_are_missing(count):
    count.heard(RUN + 1, 2.5, 4)
    assert result(count) == (4, 3, 0)


def test_who_joins_in_the_middle_is_due_what_comes_from_there_on(count):
    count.heard(RUN + 1, 0.5, 4)
    count.heard(RUN + 1, 0.5, 5)
    assert result(count) == (5, 0, 0)


@pytest.mark.parametrize("number", [2, 3])
def test_doubled_or_out_of_order(count, number):
    count.heard(RUN, 2.0, number)
    assert result(count) == (3, 0, 1)


def test_the_last_ones_are_missing(count):
    assert count.lacks(Published(1, RUN, 2.0, 9, 5)) == 2


@pytest.mark.parametrize(("begun", "lacking"), [(2.5, 5), (0.5, 0)])
def test_a_whole_run_is_missing(count, begun, lacking):
    assert count.lacks(Published(1, RUN + 1, begun, 5, 5)) == lacking


def test_a_message_has_one_head_whatever_it_says():
    assert len(pack(RUN, 1.0, 1, 2.0)) == len(pack((1 << 48) - 1, 1e9, 1 << 40, 1e9)) == MESSAGE_BYTES < 126


def test_orders_reach_those_that_are_meant(tmp_path):
    orders = Orders(tmp_path / "order")
    assert orders.look() == Order(0)
    give(tmp_path / "order", Order(1, rate=5.0))
    assert orders.look() == Order(1, rate=5.0)
    give(tmp_path / "order", Order(2, burst=9, pids=[os.getpid() + 1]))
    assert orders.look() == Order(2), "another's"
    give(tmp_path / "order", Order(3, burst=9, pids=[os.getpid()]))
    assert orders.look().burst == 9


def figures(**changes):
    usual = {
        "listeners": 9, "slow": 2, "factor": 3.0, "capacity": 1000.0, "attempted": 300, "published": 100,
        "delivered": 900, "missing": 0, "doubled": 0, "closed": {}, "slow_closed": 2, "nodes_lost": 0,
        "is_calm": True, "seconds": 1.0,
        "latency": Percentiles(900, 1.0, 2.0, 3.0),
    }  # fmt: skip
    return FloodFigures(**{**usual, **changes})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"missing": 3}, {"messages of a flood missing": 3}),
        ({"doubled": 3}, {"messages of a flood doubled or out of order": 3}),
        ({"closed": {"close code 1008": 3}}, {"listeners closed though they read": 3}),
        ({"nodes_lost": 3}, {"nodes given up in a flood": 3}),
        ({"nodes_lost": 3, "is_calm": False}, {}),  # they were killed
        ({"slow_closed": 0}, {}),  # it was no flood for them
    ],
)
def test_what_is_wrong_is_told(wrong, told):
    assert not any(figures().wrong().values())
    assert {what: count for what, count in figures(**wrong).wrong().items() if count} == told
