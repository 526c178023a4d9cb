"""Pools of routes: few lists for many routes, and what each has of its own."""

from holdfast.balancer.directory import Directory
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.policies import PowerOfTwoChoices
from holdfast.balancer.settings import BalanceSettings, RequestSettings, RouteSettings
from holdfast.proxy.nodes.pools import Pools
from tests.balancer.nodes import add_ready


def made(*routes, balance=None, request=None):
    balance, request = balance or BalanceSettings(), request or RequestSettings()
    directory = Directory(balance)
    ledger = Ledger(directory, request, 0)
    pools = Pools(balance, request, [RouteSettings(f"r{n}", **route) for n, route in enumerate(routes)], ledger)
    return pools, ledger, directory


def test_routes_with_the_same_nodes_share_the_list_of_those_available():
    table = [{"nodes": ("test",), "timeout": float(n)} for n in range(1, 100)]
    pools, _, directory = made({"nodes": ("*",)}, {"labels": {"a": "1"}}, {"labels": {"a": "1"}}, *table)
    node = add_ready(directory, capacity=1)
    everybody, labels, twin, *named = pools.of_routes
    assert everybody.available is pools.usual.available
    assert labels.available is twin.available
    assert all(pool.available is named[0].available for pool in named)
    assert (everybody.available, labels.available, named[0].available) == ([node], [], [node])
    assert len(node.pools) == 2
    for pool in (pools.usual, named[5]):
        node.in_flight = 1
        directory.refresh(node)
        assert pool.available == []
        assert directory.missing(pool) == "no node", "the one that there is is its, and full"
        node.in_flight = 0
        directory.refresh(node)
        assert pool.available == [node]


def test_what_has_no_limit_of_its_own_counts_with_all_others():
    pools, *_ = made({"nodes": ("a",)}, {"timeout": 5.0}, {"max_in_flight": 3}, {"max_in_flight": 100_000})
    assert [pool.is_apart for pool in (pools.usual, *pools.of_routes)] == [False, False, False, True, False]
    assert [pool.unchecked for pool in pools.of_routes] == [100_000, 0, 0, 100_000]


def test_what_a_route_does_not_say_is_as_for_all():
    request = RequestSettings(timeout=3.0, redelivery="never", max_in_flight=7)
    pools, *_ = made({"nodes": ("a",)}, {"redelivery": "auto", "timeout": 1.5}, {"status": 404}, request=request)
    plain, own, fixed = pools.of_routes
    assert (plain.timeout, plain.redelivers, plain.max_in_flight, plain.route) == (3.0, False, 7, "r0")
    assert (own.timeout, own.milliseconds, own.redelivers, own.max_in_flight) == (1.5, 1500, True, 7)
    assert fixed is None


def test_a_policy_of_a_route_gets_what_it_goes_by():
    pools, ledger, _ = made({"policy": "weighted"})
    assert pools.key_of is None
    assert ledger.measured is None
    pools, ledger, _ = made({"policy": "sticky"}, {"policy": "p2c-ewma"})
    assert pools.key_of is not None
    assert isinstance(ledger.measured.__self__, PowerOfTwoChoices)
    pools, *_ = made({"nodes": ("a",)}, balance=BalanceSettings(policy="sticky"))
    assert pools.key_of is not None
