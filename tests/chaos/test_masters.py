from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.masters import Acting, Masters


def masters_of(*acts):
    masters = Masters()
    for at, epoch, node in acts:
        masters.acted(at, epoch, node)
    return masters


def test_terms():
    masters = masters_of((1.0, 1, "a"), (1.5, 1, "a"), (2.0, 2, "b"))
    assert masters.terms() == [Acting(1, "a", 1.0, 1.5, 2), Acting(2, "b", 2.0, 2.0, 1)]
    assert masters.overlaps() == 0


def test_the_first_act_of_an_epoch_is_news():
    masters = Masters()
    assert masters.acted(1.0, 1, "a")
    assert not masters.acted(1.1, 1, "a")
    assert masters.acted(2.0, 2, "a")


def test_an_old_master_that_goes_on():
    """It was stopped, another was elected, and it acts once more when it wakes."""
    assert masters_of((1.0, 1, "a"), (2.0, 2, "b"), (2.5, 1, "a"), (3.0, 2, "b")).overlaps() == 1


def test_whatever_the_order_in_which_it_is_heard():
    assert masters_of((2.5, 1, "a"), (2.0, 2, "b"), (1.0, 1, "a")).overlaps() == 1
    assert masters_of((3.0, 2, "b"), (2.0, 1, "a"), (1.5, 2, "b")).overlaps() == 1


def test_two_nodes_in_one_epoch():
    assert masters_of((1.0, 1, "a"), (2.0, 1, "b")).overlaps() == 1


def test_the_same_node_may_have_two_epochs():
    assert masters_of((1.0, 1, "a"), (2.0, 2, "a")).overlaps() == 0


@given(st.lists(st.floats(0, 100), unique=True, max_size=30), st.integers(1, 5))
def test_terms_one_after_another_never_overlap(times, length):
    acts = [(at, 1 + number // length, f"node-{number // length}") for number, at in enumerate(sorted(times))]
    assert masters_of(*acts).overlaps() == 0
