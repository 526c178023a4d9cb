"""The grants of several proxies, and until when they let a node act."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.nodes.leases import Leases

NEVER = float("-inf")


def test_nobody_acts_without_a_grant():
    assert Leases().end == NEVER


def test_more_than_half_must_stand():
    leases = Leases()
    leases.granted("a", 3, 1, 2, 10.0)
    assert leases.end == NEVER
    leases.granted("b", 3, 1, 2, 12.0)
    assert leases.end == 10.0
    leases.granted("c", 3, 1, 2, 15.0)
    assert leases.end == 12.0, "two of the three stand until then"


def test_one_of_one_is_enough():
    leases = Leases()
    leases.granted("a", 1, 0, 1, 5.0)
    assert leases.end == 5.0


def test_a_grant_that_comes_late_shortens_nothing():
    leases = Leases()
    leases.granted("a", 1, 0, 1, 5.0)
    leases.granted("a", 1, 0, 1, 4.0)
    assert leases.end == 5.0


def test_ballots_are_counted_apart():
    leases = Leases()
    leases.granted("a", 3, 1, 2, 10.0)
    leases.granted("b", 3, 2, 2, 10.0)
    assert leases.end == NEVER
    leases.granted("c", 3, 2, 2, 8.0)
    assert leases.end == 8.0


def test_a_higher_epoch_voids_all():
    leases = Leases()
    leases.granted("a", 3, 1, 1, 10.0)
    assert leases.saw(4)
    assert not leases.saw(4)
    assert leases.end == NEVER
    leases.granted("a", 3, 1, 1, 11.0)
    assert leases.end == NEVER
    leases.granted("a", 5, 1, 1, 9.0)
    assert (leases.epoch, leases.end) == (5, 9.0)


def test_who_has_stopped_needs_new_grants():
    leases = Leases()
    leases.granted("a", 3, 1, 1, 10.0)
    leases.clear()
    assert leases.end == NEVER
    assert leases.epoch == 3


def test_what_has_run_out_is_dropped_and_changes_nothing():
    leases = Leases()
    for proxy, ballot, end in [("a", 1, 5.0), ("b", 1, 9.0), ("a", 2, 4.0)]:
        leases.granted(proxy, 3, ballot, 1, end)
    leases.forget_before(5.0)
    assert leases._ends == {1: {"b": 9.0}}
    assert leases.end == 9.0


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 3), st.floats(0, 100)), max_size=30), st.data())
def test_at_any_time_before_the_end_a_majority_of_one_ballot_stands(grants, data):
    """By counting, which is another way than sorting."""
    leases = Leases()
    for proxy, ballot, end in grants:
        leases.granted(proxy, 1, ballot, 3, end)
    now = data.draw(st.floats(0, 100))
    standing = {(ballot, proxy) for proxy, ballot, end in grants if end > now}
    majority = any(sum(b == ballot for b, _ in standing) >= 3 for ballot in (1, 2, 3))
    assert (leases.end > now) is majority
