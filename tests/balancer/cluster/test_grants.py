"""One proxy's grants: to one process at a time."""

import pytest

from holdfast.balancer.cluster.grants import Grants
from tests.balancer.cluster.views import LEASE_WAIT

JUST = 0.01
A, A_AGAIN, B = ("a", 1), ("a", 2), ("b", 1)


def grants():
    """Of a run whose former run can't have granted anything any more, at 10."""
    return Grants(LEASE_WAIT, 0.0)


def test_a_former_runs_grant_is_waited_for():
    it = Grants(LEASE_WAIT, 100.0)
    assert not it.renew(A, 100.0 + LEASE_WAIT - JUST)
    assert it.renew(A, 100.0 + LEASE_WAIT)


def test_but_not_by_who_joins_others():
    it = Grants(LEASE_WAIT, 100.0)
    it.joined()
    assert it.renew(A, 100.0)


def test_who_joins_again_keeps_to_what_it_has_granted():
    it = grants()
    it.renew(A, 10.0)
    it.joined()
    assert not it.renew(B, 10.0 + LEASE_WAIT - JUST)


@pytest.mark.parametrize("other", [B, A_AGAIN])
def test_another_process_waits_for_the_end(other):
    it = grants()
    assert it.renew(A, 10.0)
    assert it.renew(A, 20.0)
    assert it.end == 20.0 + LEASE_WAIT
    assert not it.renew(other, it.end - JUST)
    assert it.renew(other, it.end)
    assert not it.renew(A, 20.0 + LEASE_WAIT)


def test_a_time_that_was_read_late_makes_no_grant_shorter():
    it = grants()
    it.renew(A, 20.0)
    it.renew(A, 19.0)
    assert it.end == 20.0 + LEASE_WAIT


def test_who_says_that_it_has_stopped_is_not_waited_for():
    it = grants()
    it.renew(A, 10.0)
    it.released(A)
    assert it.renew(B, 10.0)


@pytest.mark.parametrize("other", [B, A_AGAIN])
def test_nobody_else_can_say_so(other):
    it = grants()
    it.renew(A, 10.0)
    it.released(other)
    assert not it.renew(B, 10.0)


def test_nor_itself_in_another_session():
    it = grants()
    it.renew(A, 10.0)
    it.session_lost(B)
    it.session_lost(A)
    it.released(A)
    assert not it.renew(B, 10.1)
    assert it.renew(A, 10.1), "the same process is back"
    it.released(A)
    assert it.renew(B, 10.1)


def test_what_becomes_of_the_session_of_another_is_nothing_to_it():
    it = grants()
    it.renew(A, 10.0)
    it.session_lost(B)
    it.released(A)
    assert it.renew(B, 10.1)


def test_who_is_dead_is_not_waited_for():
    it = grants()
    it.renew(A, 10.0)
    it.session_lost(A)
    it.died(A)
    assert it.renew(B, 10.1)
    it.died(A)
    assert not it.renew(A_AGAIN, 10.2), "that was before"


@pytest.mark.parametrize("other", [B, A_AGAIN])
def test_the_death_of_another_says_nothing(other):
    it = grants()
    it.renew(A, 10.0)
    it.died(other)
    assert not it.renew(B, 10.1)


def test_a_death_says_nothing_of_what_a_former_run_may_have_granted():
    it = Grants(LEASE_WAIT, 100.0)
    it.died(A)
    assert not it.renew(B, 100.1)
