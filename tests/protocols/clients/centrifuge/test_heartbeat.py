"""The heartbeat: pings at their interval whatever the client says, and silence after one."""

from math import inf

from holdfast.protocols.clients.centrifuge.heartbeat import Due, Heartbeat


def started(interval=25.0, timeout=20.0):
    beat = Heartbeat(interval, timeout)
    beat.start(100.0)
    return beat


def dues(beat, until, answers=()):
    """What is due at which time, with answers of the client at their times."""
    found, answers = [], list(answers)
    while beat.deadline <= until:
        now = beat.deadline
        while answers and answers[0] <= now:
            answers.pop(0)
            beat.heard()
        due = beat.look(now)
        if due is not Due.NOTHING:
            found.append((now, due))
    return found


def test_pings_come_at_their_interval_while_each_is_answered():
    assert dues(started(), 200, [126, 151, 176]) == [(125, Due.PING), (150, Due.PING), (175, Due.PING), (200, Due.PING)]


def test_who_says_nothing_is_silent_when_the_time_for_its_answer_is_over():
    assert dues(started(), 150) == [(125, Due.PING), (145, Due.SILENT), (150, Due.PING)]


def test_it_is_silent_again_after_as_long_if_that_was_passed_over():
    silences = [now for now, due in dues(started(), 190) if due is Due.SILENT]
    assert silences == [145, 165, 185]


def test_a_timeout_longer_than_the_interval_counts_from_the_first_ping_without_an_answer():
    assert dues(started(10.0, 25.0), 140) == [
        (110, Due.PING), (120, Due.PING), (130, Due.PING), (135, Due.SILENT), (140, Due.PING),
    ]  # fmt: skip


def test_it_may_be_looked_at_early():
    beat = started()
    assert beat.look(124.9) is Due.NOTHING
    assert beat.deadline == 125


def test_without_an_interval_there_are_none():
    beat = started(0.0)
    assert beat.deadline == inf
    assert beat.interval == 0
    assert beat.look(1e9) is Due.NOTHING


def test_clients_are_told_whole_seconds_and_never_too_few():
    assert [started(seconds).interval for seconds in (0.2, 1.0, 25.0, 25.1)] == [1, 1, 25, 26]
