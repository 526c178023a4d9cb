"""What can happen to the file, and to the machine. What every store promises is in tests/contracts/test_log.py."""

import os
import sqlite3
from functools import partial

import pytest

from holdfast.balancer.history import sqlite
from holdfast.balancer.history.base import END, Append, Appended, Keep, LogUnavailable, Page
from holdfast.balancer.history.sqlite import SqliteLog

TIMEOUT = 20.0
MUCH = 1 << 30
NOW = 1_800_000_000.0
KEEP = Keep(100_000, 0, 3600.0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "logs")


@pytest.fixture
def make(path):
    """Logs of the same file, each as another process would have it."""
    made = []

    def make(timeout=TIMEOUT, max_bytes=MUCH, **options):
        made.append(SqliteLog(path, timeout, max_bytes, clock=lambda: NOW, **options))
        return made[-1]

    yield make
    for log in made:
        log.close()


def append(log, *numbers, channel="c", keep=KEEP, payload=b"payload"):
    return log.append([Append(channel, b"%d" % number, payload, True, b"", keep) for number in numbers], NOW)


def read(log, after=0, limit=1000, channel="c"):
    return log.read(channel, after, limit, MUCH, NOW)


class TestFile:
    def test_is_shared(self, make):
        one, other = make(), make()
        cursor, _ = other.news("", 10)
        [appended] = append(one, 1)
        assert append(other, 1, 2) == [appended._replace(is_new=False), Appended(appended.epoch, 2, True)]
        assert read(one) == read(other)
        assert other.news(cursor, 10)[1] == [("c", appended.epoch, 2)]

    def test_keeps_what_it_has_when_all_have_gone(self, make, path):
        log = make()
        append(log, 1)
        page = read(log)
        log.close()
        assert os.listdir(os.path.dirname(path)) == ["logs"], "closed: no write-ahead log is left"
        assert read(make()) == page

    def test_that_was_deleted_begins_anew_with_other_epochs(self, make, path):
        one, other = make(), make()
        cursor, _ = other.news("", 10)
        [first] = append(one, 1)
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        assert read(other) == Page("", 1, 0, [])
        [again] = append(one, 1)
        assert (again.offset, again.is_new) == (1, True)
        assert again.epoch != first.epoch
        assert other.news(cursor, 10)[1] == [("c", again.epoch, 1)], "whatever it has is news"

    def test_that_was_brought_back_has_news(self, make, path):
        log = make()
        append(log, 1)
        log.close()
        with open(path, "rb") as file:
            backup = file.read()
        log = make()
        append(log, *range(2, 10))
        cursor, _ = log.news("", 10)
        log.close()
        with open(path, "wb") as file:
            file.write(backup)
        log = make()
        [(channel, epoch, last)] = log.news(cursor, 10)[1]
        assert (channel, last) == ("c", 1)
        [appended] = append(log, 10)
        assert (appended.epoch, appended.offset) == (epoch, 2), "who has given out more renews it"

    def test_is_another_after_a_boot(self, make):
        log = make(boot=lambda: "one")
        cursor, _ = log.news("", 10)
        [first] = append(log, 1)
        append(log, 1, channel="d")
        assert read(make(boot=lambda: "one")).last == 1
        later = make(boot=lambda: "other")
        assert read(later) == Page("", 1, 0, []), "nobody would notice what a power cut has undone"
        [again] = append(later, 1)
        assert again.epoch != first.epoch
        assert later.news(cursor, 10)[1] == [("c", again.epoch, 1)]

    def test_that_another_is_writing_is_waited_for_no_longer_than_that(self, make, path):
        log = make(timeout=0.2)
        append(log, 1)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match="database is locked"):
            append(log, 2)
        assert read(log).last == 1, "who reads waits for nobody"
        writer.close()
        assert append(log, 2)[0].offset == 2

    def test_that_is_none_of_ours(self, make, path):
        with open(path, "wb") as file:
            file.write(b"something else " * 1000)
        with pytest.raises(LogUnavailable, match=r"logs: file is not a database$"):
            append(make(), 1)

    def test_in_no_folder(self, tmp_path):
        log = SqliteLog(str(tmp_path / "missing" / "logs"), TIMEOUT, MUCH)
        with pytest.raises(LogUnavailable, match="unable to open"):
            append(log, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE logs SET epoch = x'ff'",
        "UPDATE logs SET epoch = hex(zeroblob(1000))",
        "UPDATE logs SET epoch = ''",
        "UPDATE logs SET last = 'many'",
        "UPDATE logs SET last = -1",
        "UPDATE logs SET last = 9007199254740992",
        "UPDATE logs SET first = 0",
        "UPDATE logs SET first = 2.5",
        "UPDATE logs SET age = 'long'",
        "UPDATE logs SET ends = 9e999",
        "UPDATE logs SET channel = x'ff' WHERE channel = 'd'",
        "UPDATE publications SET at = 'now' WHERE number = 2",
        "UPDATE publications SET is_text = 7 WHERE number = 2",
        "UPDATE publications SET payload = 'text' WHERE number = 2",
        "UPDATE publications SET payload = 5 WHERE number = 2",
        "UPDATE publications SET payload = zeroblob(70000000) WHERE number = 2",
        "UPDATE publications SET identity = zeroblob(300) WHERE number = 2",
        "UPDATE publications SET note = zeroblob(70000) WHERE number = 2",
        "UPDATE publications SET number = 20 WHERE number = 3",
        "DELETE FROM publications WHERE number = 2",
        "UPDATE store SET id = zeroblob(100)",
        "UPDATE store SET change = 'none'",
        "UPDATE store SET size = 'large'",
        "DELETE FROM store",
        "INSERT INTO store SELECT * FROM store",
        "UPDATE known SET epoch = zeroblob(100)",
        "UPDATE known SET number = 'x'",
        "UPDATE known SET id = 9223372036854775807 WHERE id = 3",
        "UPDATE known SET at = 'x'",
        "DROP TABLE publications",
        "DROP TABLE logs",
    ],
)
def test_content_that_is_none_is_one_clear_line(make, path, statement):
    log = make()
    append(log, 1, 2, 3)
    cursor, _ = log.news("", 10)
    append(log, 4, channel="d")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()
    said = []
    for operation in (
        lambda: read(log),
        lambda: read(log, channel="d"),
        lambda: append(log, 1),
        lambda: append(log, 5, keep=Keep(1, 0, 3600.0)),
        lambda: log.news(cursor, 10),
        lambda: log.renew("c", "other"),
    ):
        try:
            operation()
        except LogUnavailable as error:
            said.append(str(error))
    assert said
    assert all(line.startswith(path) and "\n" not in line for line in said)


def steps(log, operation):
    """Instructions of SQLite's machine that an operation takes."""
    count = 0

    def counted():
        nonlocal count
        count += 1

    db, _ = log._file._open
    db.set_progress_handler(counted, 1)
    operation()
    db.set_progress_handler(None, 0)
    return count


def test_what_is_asked_of_a_long_log_costs_what_it_costs_of_a_short_one(make):
    log = make()
    append(log, *range(100), channel="short")
    for begin in range(0, 20_000, 1000):
        append(log, *range(begin, begin + 1000))
    numbers = iter(range(30_000, 40_000))
    cursor, _ = log.news("", 10)
    for operation in (
        lambda channel: read(log, 40, 10, channel),
        lambda channel: read(log, END, 10, channel),
        lambda channel: append(log, next(numbers), channel=channel),
        lambda channel: log.news(cursor, 10),
    ):
        short, long = (steps(log, partial(operation, channel)) for channel in ("short", "c"))
        assert long < 1.5 * short, (short, long)


def test_what_is_too_old_is_found_without_walking(make):
    log = make()
    keep = Keep(100_000, 0, 100.0)
    for begin in range(0, 10_000, 1000):
        log.append([Append("c", b"%d" % number, b"", True, b"", keep) for number in range(begin, begin + 1000)], NOW)
    log.append([Append("c", b"last", b"", True, b"", keep)], NOW + 99)
    page = log.read("c", 0, 10, MUCH, NOW + 101)
    assert (page.first, page.last, len(page.publications)) == (10_001, 10_001, 1)
    assert steps(log, lambda: log.read("c", 0, 10, MUCH, NOW + 101)) < 1000


def test_one_append_cleans_up_no_more_than_its_part(make):
    log = make()
    for number in range(5 * sqlite.ENDED_AT_ONCE):
        append(log, number, channel=f"c{number}", keep=Keep(10, 0, 10.0))
    later = NOW + 100
    left = []
    for _ in range(6):
        log.append([], later)
        db, _ = log._file._open
        left.append(db.execute("SELECT count(*) FROM logs").fetchone()[0])
    assert left == [4 * sqlite.ENDED_AT_ONCE - sqlite.ENDED_AT_ONCE * number for number in range(5)] + [0]
    (size,) = db.execute("SELECT size FROM store").fetchone()
    assert size == 0


def test_less_room_than_before_is_made_in_steps(make):
    log = make()
    append(log, *range(3000))
    log.close()
    small = make(max_bytes=100_000)
    kept = []
    for number in range(3000, 3020):
        append(small, number)
        page = read(small)
        kept.append(page.last - page.first + 1)
    assert kept[0] == 3001 - sqlite.MAKING_ROOM_AT_ONCE
    assert kept[-1] < 100_000 / 200
    assert small.made_room == 3020 - kept[-1]


def test_identities_are_given_back(make):
    log = make(remember_seconds=60.0)
    append(log, *range(500))
    for _ in range(20):
        log.append([], NOW + 61)
    db, _ = log._file._open
    # 16 with each append
    assert db.execute("SELECT count(*) FROM known").fetchone()[0] == 500 - 20 * sqlite.FORGOTTEN_AT_ONCE
    assert log.forgotten_early == 0
