import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.directory import Directory
from holdfast.balancer.policies import POLICIES, hash_key
from holdfast.balancer.settings import BalanceSettings
from tests.balancer.nodes import add_ready


def make_nodes(count, weights=None):
    directory = Directory(BalanceSettings())
    nodes = [add_ready(directory, f"n{i}", 1000, (weights or [1.0] * count)[i]) for i in range(count)]
    for node in nodes:
        node.pull = node.weight
    return nodes


@pytest.mark.parametrize("name", POLICIES)
@given(
    loads=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    key=st.integers(0, 2**64 - 1),
    seed=st.integers(0, 1000),
)
def test_every_policy_chooses_one_of_the_nodes(name, loads, key, seed):
    nodes = make_nodes(len(loads))
    for node, load in zip(nodes, loads, strict=True):
        node.in_flight = load
    policy = POLICIES[name]()
    source = random.Random(seed).random
    assert all(policy.select(nodes, key, source) in nodes for _ in range(5))


def test_the_registry_has_the_names_of_the_configuration():
    expected = BalanceSettings.__annotations__["policy"]
    assert set(POLICIES) == set(expected.__args__)


def test_failover_takes_the_longest_standing_and_does_not_fail_back():
    policy = POLICIES["failover"]()
    first, second = make_nodes(2)
    assert policy.select([second, first], 0, random.random) is first
    first.standing = 3  # it was away and has come back
    assert policy.select([second, first], 0, random.random) is second


def test_round_robin_takes_each_in_turn():
    policy = POLICIES["round-robin"]()
    nodes = make_nodes(3)
    assert [policy.select(nodes, 0, random.random) for _ in range(6)] == nodes * 2
    assert policy.select(nodes[:1], 0, random.random) is nodes[0]


@given(loads=st.lists(st.integers(0, 20), min_size=1, max_size=8), seed=st.integers(0, 100))
def test_least_in_flight_takes_a_least_loaded(loads, seed):
    nodes = make_nodes(len(loads))
    for node, load in zip(nodes, loads, strict=True):
        node.in_flight = load
    chosen = POLICIES["least-in-flight"]().select(nodes, 0, random.Random(seed).random)
    assert chosen.in_flight == min(loads)


def test_least_in_flight_spreads_ties():
    nodes = make_nodes(3)
    source = random.Random(1).random
    policy = POLICIES["least-in-flight"]()
    chosen = Counter(policy.select(nodes, 0, source).id for _ in range(3000))
    assert all(900 < count < 1100 for count in chosen.values())


def test_least_in_flight_measures_load_by_pull():
    small, large = make_nodes(2, [1.0, 4.0])
    small.in_flight, large.in_flight = 1, 8
    assert POLICIES["least-in-flight"]().select([small, large], 0, random.random) is small
    large.in_flight = 2
    assert POLICIES["least-in-flight"]().select([small, large], 0, random.random) is large


def test_p2c_prefers_the_faster_of_two():
    slow, fast = make_nodes(2)
    slow.latency, fast.latency = 0.5, 0.01
    source = random.Random(1).random
    policy = POLICIES["p2c-ewma"]()
    assert all(policy.select([slow, fast], 0, source) is fast for _ in range(50))


def test_p2c_gives_who_was_slow_once_another_chance():
    slow, fast = make_nodes(2)
    slow.latency, fast.latency = 5.0, 0.005
    source = random.Random(1).random
    policy = POLICIES["p2c-ewma"]()
    chosen = [policy.select([slow, fast], 0, source) for _ in range(800)]
    assert 600 < chosen.index(slow) < 720


def test_p2c_looks_at_two_different_nodes():
    nodes = make_nodes(4)
    for node in nodes[1:]:
        node.latency = 0.001
    nodes[0].latency = 10.0
    source = random.Random(2).random
    policy = POLICIES["p2c-ewma"]()
    assert all(policy.select(nodes, 0, source) is not nodes[0] for _ in range(200))


def test_weighted_is_exact_and_spread():
    nodes = make_nodes(3, [5.0, 1.0, 1.0])
    policy = POLICIES["weighted"]()
    order = [policy.select(nodes, 0, random.random).id for _ in range(7)]
    assert Counter(order) == {"n0": 5, "n1": 1, "n2": 1}
    assert order[0:2] != order[1:3] or len(set(order)) == 3
    assert max(len(run) for run in "".join(i[1] for i in order).replace("1", " ").replace("2", " ").split()) <= 3


def test_weighted_forgets_nodes_that_are_gone():
    policy = POLICIES["weighted"]()
    for generation in range(30):
        nodes = make_nodes(3)
        for index, node in enumerate(nodes):
            node.id = f"{generation}-{index}"
        policy.select(nodes, 0, random.random)
    assert len(policy._credit) <= 2 * 3 + 16 + 3


def test_sticky_keeps_keys_and_moves_only_those_of_a_lost_node():
    nodes = make_nodes(4)
    policy = POLICIES["sticky"]()
    keys = [hash_key(str(i).encode()) for i in range(400)]
    before = {key: policy.select(nodes, key, random.random) for key in keys}
    assert before == {key: policy.select(list(reversed(nodes)), key, random.random) for key in keys}
    after = {key: policy.select(nodes[1:], key, random.random) for key in keys}
    assert all(after[key] is before[key] for key in keys if before[key] is not nodes[0])
    assert all(60 < count < 140 for count in Counter(node.id for node in before.values()).values())
