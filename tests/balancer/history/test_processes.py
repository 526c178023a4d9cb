"""Processes that append to one log, and are killed."""

import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager

import msgspec
import pytest

from holdfast.balancer.history.base import Appended
from holdfast.balancer.history.store import open_log
from holdfast.balancer.settings import HistorySettings, StoreSettings
from tests.balancer.history.appender import append

TIMEOUT = 20.0
PROCESSES = 3
MUCH = 1 << 30


@pytest.fixture(params=["sqlite", "redis"])
def settings(request, tmp_path):
    if request.param == "sqlite":
        return StoreSettings(kind="sqlite", path=str(tmp_path / "store"), timeout=TIMEOUT)
    url = request.getfixturevalue("redis_server").url
    return StoreSettings(kind="redis", urls=(url,), timeout=TIMEOUT)


@pytest.fixture
def log(settings):
    log = open_log(settings, HistorySettings())
    yield log
    log.close()


@contextmanager
def appenders(settings, *arguments):
    """An appender with each of the arguments. They begin at the same time."""
    command = [sys.executable, "-m", "tests.balancer.history.appender", msgspec.json.encode(settings).decode()]
    processes = [
        subprocess.Popen([*command, *map(str, what)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for what in arguments
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("begin\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def told(line: str) -> list[Appended]:
    return msgspec.json.decode(line, type=list[Appended])


def everything(log):
    after, found = 0, []
    while (page := log.read("c", after, 1000, MUCH, time.time())).publications:
        found += page.publications
        after = found[-1].offset
    assert (page.first, page.last) == (1, after)
    return found


def test_of_many_that_append_the_same_one_does(settings, log):
    number = 600
    with appenders(settings, *((number, batch) for batch in (1, 5, 20))) as processes:
        answers = [[each for line in process.stdout for each in told(line)] for process in processes]
        assert [process.wait() for process in processes] == [0] * PROCESSES
    assert [len(each) for each in answers] == [number] * PROCESSES
    places = [{(one.epoch, one.offset) for one in of_one} for of_one in zip(*answers, strict=True)]
    assert [len(each) for each in places] == [1] * number, "all are told the same of each"
    assert [sum(one.is_new for one in of_one) for of_one in zip(*answers, strict=True)] == [1] * number
    found = everything(log)
    assert [each.offset for each in found] == list(range(1, number + 1))
    assert {int(each.identity) for each in found} == set(range(number))
    # where it was told that it is
    assert all(answers[0][int(each.identity)].offset == each.offset for each in found)


def test_killed_in_the_midst_of_appending_it_leaves_the_log_whole(settings, log):
    known = 0
    for lines in (20, 31, 57):
        with appenders(settings, (3_000_000, 3)) as [process]:
            answers = [told(process.stdout.readline()) for _ in range(lines)]
            process.kill()
            answers += [told(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        said = [each for answer in answers for each in answer]
        assert [each.offset for each in said] == list(range(1, len(said) + 1)), "what was there is found again"
        assert not any(each.is_new for each in said[:known])
        found = everything(log)
        known = len(found)
        assert [int(each.identity) for each in found] == list(range(known))
        assert known % 3 == 0, "a batch is there or not"
        assert len(said) <= known, "what it has told is there"
    [last, one_more] = log.append([append(known - 1), append(known)], time.time())
    assert (last.offset, last.is_new) == (known, False)
    assert (one_more.offset, one_more.is_new) == (known + 1, True)
    if settings.kind == "sqlite":
        log.close()
        connection = sqlite3.connect(f"{settings.path}-history")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
