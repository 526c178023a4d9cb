"""Processes that contend for one store, and are killed."""

import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise

import msgspec
import pytest
import trio

from balancer.coordination.base import MasterRecord
from balancer.coordination.store import open_store
from balancer.settings import StoreSettings

TIMEOUT = 20.0
PROCESSES = 3
LONG = 1000.0


@pytest.fixture(params=["sqlite", "redis"])
def settings(request, tmp_path):
    if request.param == "sqlite":
        return StoreSettings(kind="sqlite", path=str(tmp_path / "store"), timeout=TIMEOUT)
    url = request.getfixturevalue("redis_server").url
    return StoreSettings(kind="redis", urls=(url,), timeout=TIMEOUT)


@pytest.fixture
async def coordinator(settings):
    coordinator = open_store(settings)
    yield coordinator
    await coordinator.aclose()


@contextmanager
def contenders(settings, *arguments):
    """A contender with each of the arguments. They begin at the same time."""
    command = [sys.executable, "-m", "tests.balancer.coordination.contender", msgspec.json.encode(settings).decode()]
    processes = [
        subprocess.Popen([*command, *what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for what in arguments
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("begin\n")
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def contend(settings, *arguments):
    """What each of the contenders has said when all have done what they should."""
    with contenders(settings, *arguments) as processes:
        said = [process.stdout.read().splitlines() for process in processes]
        assert [process.wait() for process in processes] == [0] * len(processes), said
        return said


def test_each_epoch_has_one_winner(settings):
    won = contend(settings, *(("elect", f"p{index}", "50") for index in range(PROCESSES)))
    assert sorted(int(epoch) for epochs in won for epoch in epochs) == list(range(1, PROCESSES * 50 + 1))


def test_the_mutex_has_one_holder_and_its_numbers_grow(settings, tmp_path):
    journal = tmp_path / "journal"
    journal.touch()
    contend(settings, *(("enter", f"p{index}", "25", str(journal)) for index in range(PROCESSES)))
    lines = [line.split() for line in journal.read_text().splitlines()]
    taken, given = lines[::2], lines[1::2]
    assert [(number, owner) for number, owner, _ in taken] == [(number, owner) for number, owner, _ in given]
    assert {what for _, _, what in taken} == {"in"}
    numbers = [int(number) for number, _, _ in taken]
    assert len(numbers) == PROCESSES * 25
    assert all(former < number for former, number in pairwise(numbers))
    owners = [owner for _, owner, _ in taken]
    assert any(former != owner for former, owner in pairwise(owners)), "or they did not contend"


async def test_what_a_killed_holder_had_is_free_after_its_time(settings, coordinator):
    ttl = 1.5
    with contenders(settings, ("hold", "p", str(ttl))) as [process]:
        former, start = process.stdout.readline().split()
        process.kill()
    with trio.fail_after(TIMEOUT):
        number = None
        while number is None:
            number = await coordinator.lock("q", LONG)
    assert time.monotonic() >= float(start) + ttl, "not before"
    assert number > int(former)
    with trio.fail_after(TIMEOUT):
        while await coordinator.cards():
            pass


async def test_killed_in_the_midst_of_writing_it_leaves_the_store_whole(settings, coordinator):
    told = 0
    for index in range(4):
        with contenders(settings, ("elect", f"p{index}", "1000000")) as [process]:
            for _ in range(20 + index):
                told = int(process.stdout.readline())
            process.kill()
            told = max([told, *map(int, process.stdout.read().split())])
        present = await coordinator.master()
        # It may have written one more before it could tell.
        assert present in (MasterRecord(told, f"p{index}"), MasterRecord(told + 1, f"p{index}"))
    mine = MasterRecord(present.epoch + 1, "me")
    assert await coordinator.swap_master(present.epoch, mine) == mine
    if settings.kind == "sqlite":
        await coordinator.aclose()
        connection = sqlite3.connect(settings.path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
