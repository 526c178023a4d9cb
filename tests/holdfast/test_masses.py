"""Of a mass of lines the log has some and a count."""

from structlog.testing import capture_logs

from holdfast.masses import INTERVAL, MOST, Masses, quietly


def test_each_event_has_so_many_lines_and_then_a_count():
    masses = Masses()
    with capture_logs() as lines:
        assert [masses.admits("one", 1.0) for _ in range(MOST + 5)] == [True] * MOST + [False] * 5
        assert masses.admits("other", 1.0)
        assert masses.has_unsaid
        masses.tick(1.0 + INTERVAL / 2)
        assert not masses.admits("one", 1.0 + INTERVAL / 2)
        assert not lines
        masses.tick(1.0 + INTERVAL)
        assert not masses.has_unsaid
        assert masses.admits("one", 1.0 + INTERVAL)
        masses.tick(1.0 + 2 * INTERVAL)
    assert lines == [{"event": "lines_left_out", "log_level": "warning", "of": "one", "count": 6}]


def test_the_next_one_tells_too_that_there_were_more():
    told = []
    masses = Masses(lambda event, kinds: told.append((event, dict(kinds))))
    for kind in ("a", "b"):
        for _ in range(MOST):
            masses.admits("one", 1.0, kind)
    assert masses.admits("one", 1.0 + INTERVAL)
    assert told == [("one", {"b": MOST})]


def test_the_count_of_what_is_debug_is_debug():
    with capture_logs() as lines:
        masses = Masses(quietly)
        for _ in range(MOST + 1):
            masses.admits("one", 1.0)
        masses.tick(1.0 + INTERVAL)
    assert [line["log_level"] for line in lines] == ["debug"]
