from holdfast.chaos.failover import Fault, Percentiles, failover


def test_percentiles():
    assert Percentiles.of([]) == Percentiles()
    assert Percentiles.of([number / 1000 for number in range(101)]) == Percentiles(101, 50.0, 99.0, 100.0)


def test_counts_from_the_kill():
    """In flight at the kill: sent at 0.99, killed at 1.0, answered by a second node at 1.02."""
    result = failover([(0.99, 1.02, 2)], [Fault("kill", "a", 1.0)])
    assert result["kill"].redelivered == Percentiles(1, 20.0, 20.0, 20.0)
    assert result["kill"].next == Percentiles()


def test_counts_from_the_sending_if_that_is_later():
    result = failover([(1.01, 1.03, 2)], [Fault("kill", "a", 1.0)])
    assert result["kill"].redelivered.max == 20.0
    assert result["kill"].next == Percentiles(1, 20.0, 20.0, 20.0)


def test_next_are_those_just_after_whoever_answers():
    result = failover([(0.99, 1.0, 1), (1.04, 1.05, 1), (1.06, 1.09, 1)], [Fault("kill", "a", 1.0)])
    assert result["kill"].next == Percentiles(1, 10.0, 10.0, 10.0)
    assert result["kill"].redelivered == Percentiles()


def test_a_frozen_node_keeps_requests_until_it_is_given_up():
    """A kill elsewhere, just before, is not what they waited for."""
    faults = [Fault("freeze-node", "a", 1.0, until=4.0), Fault("kill", "b", 3.0)]
    result = failover([(1.001, 3.01, 2), (2.999, 3.02, 2)], faults)
    assert result["freeze-node"].redelivered == Percentiles(1, 2009.0, 2009.0, 2009.0)
    assert result["kill"].redelivered == Percentiles(1, 20.0, 20.0, 20.0)


def test_harmless_faults_have_none():
    assert failover([(0.99, 1.02, 2)], [Fault("drain", "a", 1.0), Fault("slow", "a", 1.0)]) == {}


def test_kinds_are_counted():
    result = failover([], [Fault("kill", "a", 1.0), Fault("kill", "a", 2.0), Fault("all", "a, b", 3.0)])
    assert {kind: one.faults for kind, one in result.items()} == {"kill": 2, "all": 1}


def test_the_death_of_a_proxy_loses_no_request_of_a_node():
    """What was redelivered is the killed node's; what is sent just after the proxy's death counts as that."""
    faults = [Fault("kill", "a", 1.0), Fault("kill-proxy", "proxy-1", 1.06), Fault("kill-store", "the store", 5.0)]
    result = failover([(1.045, 1.13, 2), (1.1, 1.11, 1), (5.01, 5.02, 1)], faults)
    assert result["kill"].redelivered == Percentiles(1, 85.0, 85.0, 85.0)
    assert result["kill-proxy"].redelivered == result["kill-store"].redelivered == Percentiles()
    assert (result["kill-proxy"].next, result["kill-store"].next) == (Percentiles(1, 10.0, 10.0, 10.0),) * 2


def test_a_node_that_dies_with_others_loses_its_requests():
    result = failover([(0.99, 1.02, 2)], [Fault("kill-together", "proxy-1, a and the store", 1.0)])
    assert result["kill-together"].redelivered == Percentiles(1, 20.0, 20.0, 20.0)
