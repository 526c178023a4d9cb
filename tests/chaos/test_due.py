"""The counting by long numbers is the counting one by one."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.due import (
    ANSWERED,
    AWAY,
    FAILED,
    GONE,
    MOST,
    OPEN,
    Notifications,
    compared,
    count,
    while_away,
)

outcome = st.sampled_from([OPEN, ANSWERED, FAILED, GONE, AWAY])
history = st.lists(st.tuples(outcome, st.one_of(st.just(1), st.integers(0, MOST))), max_size=50)


def counted(pairs, *, is_cluster):
    told = Notifications()
    for outcome, times in pairs:
        may_come = outcome in (GONE, AWAY) or (is_cluster and outcome == FAILED)
        if outcome == ANSWERED:
            told.delivered += times > 0
            told.missing += times == 0
        elif may_come:
            told.not_due += times > 0
            told.excused += outcome == AWAY and times == 0
        else:
            told.unfounded += times
        if outcome == ANSWERED or may_come:
            told.duplicated += max(0, times - 1)
    return told


@given(history, st.booleans())
def test_counts(pairs, is_cluster):
    told = Notifications()
    heard = compared(bytearray(outcome for outcome, _ in pairs), bytearray(times for _, times in pairs))
    count(heard, told, is_cluster=is_cluster)
    assert told == counted(pairs, is_cluster=is_cluster)


def test_who_has_not_heard_the_last_ones_has_a_shorter_list():
    told = Notifications()
    count(compared(bytearray([ANSWERED] * 3), bytearray([1])), told, is_cluster=False)
    assert told == Notifications(delivered=1, missing=2)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), max_size=30),
    st.floats(5, 15),
    st.floats(0, 5),
)
def test_nothing_that_overlaps_a_move_is_due(requests, begun, length):
    requests.sort()
    sent_at = [sent for sent, _ in requests]
    done_at = [sent + took for sent, took in requests]
    outcomes = bytearray([ANSWERED] * len(requests))
    seen = while_away(outcomes, sent_at, done_at, [(begun, begun + length)])
    assert outcomes == bytearray([ANSWERED] * len(requests))  # others' view is untouched
    for sent, done, outcome in zip(sent_at, done_at, seen, strict=True):
        overlaps = sent <= begun + length and done >= begun
        assert outcome == (AWAY if overlaps else ANSWERED)
