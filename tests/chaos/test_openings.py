import pytest

from holdfast.chaos import openings
from holdfast.chaos.openings import Openings

NODE, OTHER = 11, 12  # pids


def told(*lines):
    testimony = openings.Testimony()
    for line in lines:
        testimony.take(*line)
    return testimony


GOOD = (
    (1.0, "opened", NODE, 7), (1.0, "opened", OTHER, 7), (2.0, "opened", NODE, 8),
    (5.0, "closed", NODE, 7), (5.1, "closed", OTHER, 7), (2.1, "opened", OTHER, 8),
)  # fmt: skip
ENDS = {7: 4.9, 8: None}


def test_all_right():
    testimony = told(*GOOD)
    assert testimony.is_up_to_date(ENDS, [NODE, OTHER])
    assert testimony.verdict(ENDS, [NODE, OTHER]) == Openings(runs=2, opened=4, closed=2)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ((6.0, "opened", NODE, 8), {"opened": 5, "opened_twice": 1}),
        ((6.0, "opened", NODE, 7), {"opened": 5, "opened_twice": 1}),  # after its closing, too
        ((6.0, "closed", NODE, 7), {"closed": 3, "closed_twice": 1}),
        ((6.0, "closed", NODE, 9), {"closed": 3, "closed_unopened": 1}),
        ((6.0, "closed", NODE, 8), {"closed": 3, "closed_early": 1, "unknown": 1}),
        ((6.0, "opened", NODE, 9), {"opened": 5, "left_over": 1}),
    ],
)
def test_what_is_wrong(line, wrong):
    verdict = told(*GOOD, line).verdict(ENDS, [NODE, OTHER])
    usual = {"runs": 2, "opened": 4, "closed": 2}
    assert verdict == Openings(**{**usual, **wrong})


def test_a_closing_before_the_death():
    assert told(*GOOD).verdict({7: 5.05, 8: None}, []).closed_early == 1  # at NODE, not at OTHER


def test_a_node_that_has_ended_need_not_know_the_end():
    testimony = told((1.0, "opened", NODE, 7))
    assert not testimony.is_up_to_date(ENDS, [NODE])
    assert testimony.is_up_to_date(ENDS, [])
    assert testimony.verdict(ENDS, []) == Openings(runs=1, opened=1)


def test_a_node_that_says_nothing_knows_nobody():
    testimony = told(*GOOD)
    assert not testimony.is_up_to_date(ENDS, [NODE, 99])
    assert testimony.verdict(ENDS, [NODE, 99]).unknown == 1


def test_a_client_that_never_joined_its_channel_is_in_no_list_of_clients():
    """Its connection ended too early for its id to be known; nodes were told all the same."""
    verdict = told(*GOOD, (3.0, "opened", NODE, 9), (3.1, "closed", NODE, 9)).verdict(ENDS, [NODE, OTHER])
    assert verdict == Openings(runs=2, opened=5, closed=3)
