"""Processes that contend for one store, and are killed."""

import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager

import msgspec
import pytest
import trio

from holdfast.balancer.coordination.base import MasterRecord
from holdfast.balancer.coordination.store import open_store
from holdfast.balancer.settings import StoreSettings

TIMEOUT = 20.0
PROCESSES = 3


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


async def test_the_card_of_a_killed_process_ends_with_its_time(settings, coordinator):
    ttl = 1.5
    with contenders(settings, ("hold", "p", str(ttl))) as [process]:
        start = process.stdout.readline()
        process.kill()
    with trio.fail_after(TIMEOUT):
        while await coordinator.cards():
            pass
    assert time.monotonic() >= float(start) + ttl, "not before"


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
