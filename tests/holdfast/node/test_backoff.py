from itertools import islice

from holdfast.node import backoff


def test_delays_grow_to_a_limit_and_the_first_is_short():
    for _ in range(50):
        delays = list(islice(backoff.delays(), 20))
        assert delays[0] <= backoff.FIRST / 2
        for number, delay in enumerate(delays[1:]):
            full = min(backoff.FIRST * 2**number, backoff.LONGEST)
            assert full / 2 <= delay <= full


def test_nodes_that_failed_together_do_not_come_back_together():
    assert len({tuple(islice(backoff.delays(), 3)) for _ in range(20)}) == 20


def test_attempts_begin_once_a_second_however_they_end():
    for _ in range(50):
        assert backoff.pause(0.5, begun=10.0, now=10.125) == 0.375
        assert 0 < backoff.pause(backoff.LONGEST, begun=10.0, now=12.0) <= backoff.FIRST / 2


def test_after_a_link_that_lasted_it_is_tried_again_soon_and_what_fails_is_news():
    attempts, now = backoff.Attempts(), 100.0
    for _ in range(10):
        attempts.begin(now)
        assert attempts.complaints.is_due("refused", now) == (now == 100.0)
        last = attempts.pause(now)
        now += 1.0
    assert last > backoff.LONGEST / 2 - 0.01
    for lasted, soon in ((backoff.LASTED - 0.1, False), (backoff.LASTED, True)):
        attempts.begin(now)
        attempts.stood(now + lasted)
        assert attempts.complaints.is_due("refused", now)
        left = attempts.pause(now)
        assert (left <= backoff.FIRST / 2) == soon
