"""Each way of losing or doubling a write is put into a history by hand, and must be found."""

import msgspec
import pytest

from holdfast.chaos.writes import KINDS, PER_COUNTER, REGISTERS, Book, StateFigures, Writes, audit

CLIENT, SESSION = 3, 300
THERE, GONE = {SESSION: None}, {SESSION: 5.0}


class History:
    """Clients that ask, and a state in which what they ask for is done, as nodes do it."""

    def __init__(self):
        self.writes = Writes()
        self.state = {}
        self.version = 0

    def ask(self, kind=None, **options):
        """The next write, of a kind; those before it are done."""
        while True:
            write = self.writes.next(CLIENT, SESSION, 1.0, **options)
            if kind in (None, write.kind):
                return write
            self.do(write)
            self.acknowledge(write)

    def do(self, write, attempt=1):
        self.version += 1
        if write.kind == "delete":
            del self.state[write.key]
        elif write.kind == "count":
            value = self.state.get(write.key, {"count": 0, "by": []})
            self.state[write.key] = {"count": value["count"] + 1, "by": [*value["by"], [write.number, attempt]]}
        else:
            self.state[write.key] = write.number

    def acknowledge(self, write, attempt=1, version=None, at=2.0):
        self.writes.answered(CLIENT, write.number, True, version or self.version, attempt, at)

    def done(self, kind=None, attempt=1):
        write = self.ask(kind)
        self.do(write, attempt)
        self.acknowledge(write, attempt)
        return write

    def wrong(self, *states, ends=THERE):
        figures = audit(self.writes.book, states or [self.state], ends)
        return {what: count for what, count in figures.wrong().items() if count}


@pytest.fixture
def history():
    """Some of each kind is done."""
    history = History()
    for _ in range(3 * len(KINDS)):
        history.done()
    return history


def test_all_is_well(history):
    figures = audit(history.writes.book, [history.state, dict(history.state)], THERE)
    assert not any(figures.wrong().values())
    assert (figures.sent, figures.acknowledged, figures.nodes) == (18, 18, 2)
    assert {write.kind for write in history.writes.book.writes} == set(KINDS)
    assert history.writes.is_complete
    assert figures.latency.count == 18


@pytest.mark.parametrize("kind", ["set", "own", "again"])
def test_acknowledged_and_lost(history, kind):
    del history.state[history.done(kind).key]
    assert history.wrong() == {"state writes acknowledged and lost": 1}


def test_a_whole_counter_is_lost(history):
    count = history.state.pop(history.done("count").key)["count"]
    assert history.wrong() == {"increments of the state lost or doubled": count}


def test_lost_at_one_node_only(history):
    write = history.done("set")
    without = {key: value for key, value in history.state.items() if key != write.key}
    assert history.wrong(history.state, without, without) == {
        "state writes acknowledged and lost": 1,
        "nodes whose state differs": 2,
    }


@pytest.mark.parametrize("kind", ["set", "own"])
def test_another_value_than_acknowledged(history, kind):
    history.state[history.done(kind).key] = 77777
    assert history.wrong() == {"state writes acknowledged and lost": 1}


@pytest.mark.parametrize("outcome", ["failed", "gone", "refused", "redelivered"])
@pytest.mark.parametrize("kind", ["set", "own", "again", "count", "delete"])
@pytest.mark.parametrize("is_done", [True, False])
def test_what_nobody_acknowledged_may_be_done_or_not(history, outcome, kind, is_done):
    write = history.ask(kind)
    if is_done or outcome == "redelivered":
        history.do(write)
    match outcome:
        case "failed":
            history.writes.failed(CLIENT, write.number, 2.0)
        case "gone":
            history.writes.moves(CLIENT, 2.0)
        case "refused":
            history.writes.answered(CLIENT, write.number, False, 0, 1, 2.0)
        case "redelivered":
            history.acknowledge(write, attempt=2)
    assert history.wrong() == {}


def test_an_older_value_comes_back(history):
    older = history.done("again")
    while (newer := history.done("again")).key != older.key:
        pass
    assert history.wrong() == {}
    history.state[newer.key] = older.number
    assert history.wrong() == {"state writes undone": 1}


def test_an_older_value_that_another_node_may_have_set_late(history):
    older = history.done("again", attempt=2)
    while (newer := history.done("again")).key != older.key:
        pass
    history.state[newer.key] = older.number
    assert history.wrong() == {}


def test_a_register_waits_for_its_last_write():
    history = History()
    asked = [history.ask() for _ in range(2 * REGISTERS * len(KINDS))]
    registers = [write.key for write in asked if write.kind == "again"]
    assert len(registers) == len(set(registers)) == REGISTERS


def test_a_deleted_key_comes_back(history):
    write = history.done("delete")
    history.state[write.key] = 1
    assert history.wrong() == {"state writes undone": 1}


def test_no_key_is_deleted_that_another_node_may_set_late():
    history = History()
    for _ in range(3 * len(KINDS)):
        assert history.done(attempt=2).kind != "delete"


@pytest.mark.parametrize(
    ("harm", "off"),
    [
        (lambda value: {"count": value["count"] - 1, "by": value["by"][1:]}, 1),  # one is lost
        (lambda value: {"count": value["count"] - 1, "by": value["by"]}, 1),  # counted too few
        (lambda value: {"count": value["count"] + 1, "by": [*value["by"], value["by"][0]]}, 1),  # the same one twice
        (lambda value: {"count": value["count"] + 1, "by": [*value["by"], [10**9, 1]]}, 1),  # by nobody
    ],
)
def test_an_increment_is_lost_or_doubled(history, harm, off):
    key = history.done("count").key
    history.state[key] = harm(history.state[key])
    assert history.wrong() == {"increments of the state lost or doubled": off}


def test_another_attempt_has_counted(history):
    write = history.ask("count")
    history.do(write, attempt=1)
    history.acknowledge(write, attempt=2)
    assert history.wrong() == {}


def test_counters_stay_small():
    history = History()
    for _ in range(3 * PER_COUNTER):
        history.done()
    assert max(value["count"] for key, value in history.state.items() if key.startswith("count")) < PER_COUNTER / 2


def test_a_key_goes_with_its_owner(history):
    assert set(history.wrong(ends=GONE)) == {"keys of clients that have gone"}
    assert set(history.wrong(ends={})) == {"keys of clients that have gone"}, "one that nobody has met"
    for key in [key for key in history.state if key.startswith("own")]:
        del history.state[key]
    assert history.wrong(ends=GONE) == {}
    assert set(history.wrong(ends=THERE)) == {"state writes acknowledged and lost"}


def test_a_key_that_nobody_has_set(history):
    history.state["set:999999"] = 1
    assert history.wrong() == {"keys that nobody has set": 1}


def test_never_answered(history):
    history.do(history.ask())
    assert history.wrong() == {"state writes never answered": 1}
    assert not history.writes.is_complete


@pytest.mark.parametrize("client", [CLIENT, CLIENT + 1])
def test_answered_twice_or_to_somebody_else(history, client):
    write = history.ask("set") if client != CLIENT else history.done("set")
    history.do(write)
    history.writes.answered(client, write.number, True, 10**6, 1, 3.0)
    assert history.wrong()["state writes answered twice"] == 1


def test_versions_go_on(history):
    """Also where nothing else shows it: what was set in between may have been set again."""
    floor = history.version
    write = history.ask("set")
    history.do(write)
    history.acknowledge(write, version=floor)
    assert history.wrong() == {"state writes acknowledged out of order": 1}


def test_the_version_of_one_that_was_asked_before_may_be_lower(history):
    early, late = history.ask(), history.ask()
    for write, version in ((late, 1000), (early, 999)):
        history.do(write)
        history.acknowledge(write, version=version)
    assert history.wrong() == {}


def test_it_must_go_on_when_all_is_mended(history):
    refused = history.ask("set", is_last=True)
    history.writes.answered(CLIENT, refused.number, False, 0, 1, 2.0)
    assert history.wrong() == {"state writes not done though all was mended": 1}


def test_the_longest_time_without_one():
    history = History()
    for at in (1.0, 1.5, 4.0, 4.1):
        history.do(write := history.ask())
        history.acknowledge(write, at=at)
    assert audit(history.writes.book, [history.state], THERE).pause == 2.5


def test_they_survive_the_pipe(history):
    through = lambda what: msgspec.json.decode(msgspec.json.encode(what), type=type(what))  # noqa: E731
    assert through(history.writes.book) == history.writes.book
    figures = audit(through(history.writes.book), [history.state], THERE)
    assert through(figures) == figures
    assert audit(Book(), [], {}) == StateFigures()
