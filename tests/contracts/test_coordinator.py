"""What every coordination store promises. Another implementation is another entry in STORES."""

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import pytest
import trio

from holdfast.balancer.coordination.base import Coordinator, MasterRecord
from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.balancer.coordination.redis import RedisCoordinator
from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.coordination.sqlite import SqliteCoordinator

TIMEOUT = 20.0
names = (f"contract {number}" for number in count())


@dataclass
class Store:
    """A store, and how to let `ttl` pass on its clock."""

    coordinator: Coordinator
    ttl: float
    let_pass: Callable[[], Awaitable[None]]


@asynccontextmanager
async def memory(request):
    now = [1000.0]

    async def let_pass() -> None:
        await trio.lowlevel.checkpoint()
        now[0] += 10.0

    yield Store(MemoryCoordinator(clock=lambda: now[0]), 10.0, let_pass)


@asynccontextmanager
async def sqlite(request):
    now = [1000.0]

    async def let_pass() -> None:
        await trio.lowlevel.checkpoint()
        now[0] += 10.0

    path = str(request.getfixturevalue("tmp_path") / "store")
    yield Store(SqliteCoordinator(path, TIMEOUT, clock=lambda: now[0]), 10.0, let_pass)


@asynccontextmanager
async def redis(request):
    server, name = request.getfixturevalue("redis_server"), next(names)

    async def let_pass() -> None:
        """The server's clock can't be moved, but what is left to each key can."""
        await trio.lowlevel.checkpoint()
        with server.client() as client:
            for key in client.scan_iter(f"{{holdfast:{name}}}:*"):
                left = client.pttl(key)
                if left > 0:
                    client.pexpire(key, max(0, left - 10_000))

    yield Store(RedisCoordinator(parse_urls([server.url]), name, TIMEOUT), 10.0, let_pass)


STORES = {"memory": memory, "sqlite": sqlite, "redis": redis}


@pytest.fixture(params=STORES)
async def store(request):
    async with STORES[request.param](request) as store:
        try:
            yield store
        finally:
            await store.coordinator.aclose()


@pytest.fixture
def coordinator(store):
    return store.coordinator


LONG = 1000.0


class TestCards:
    async def test_are_listed_until_they_are_dropped(self, coordinator):
        assert await coordinator.cards() == {}
        await coordinator.put_card("p1", b"one", LONG)
        await coordinator.put_card("p2", b"\x00\xff", LONG)
        assert await coordinator.cards() == {"p1": b"one", "p2": b"\x00\xff"}
        await coordinator.drop_card("p1")
        await coordinator.drop_card("p1")
        assert await coordinator.cards() == {"p2": b"\x00\xff"}

    async def test_are_replaced(self, coordinator):
        await coordinator.put_card("p", b"one", LONG)
        await coordinator.put_card("p", b"two", LONG)
        assert await coordinator.cards() == {"p": b"two"}

    async def test_end_with_their_time(self, store):
        await store.coordinator.put_card("short", b"", store.ttl)
        await store.coordinator.put_card("long", b"", LONG)
        await store.let_pass()
        assert await store.coordinator.cards() == {"long": b""}

    async def test_last_from_when_they_were_refreshed(self, store):
        await store.coordinator.put_card("p", b"one", store.ttl)
        assert await store.coordinator.refresh_card("p", LONG)
        await store.let_pass()
        assert await store.coordinator.cards() == {"p": b"one"}

    async def test_may_be_refreshed_for_less(self, store):
        await store.coordinator.put_card("p", b"one", LONG)
        assert await store.coordinator.refresh_card("p", store.ttl)
        await store.let_pass()
        assert await store.coordinator.cards() == {}

    async def test_that_have_gone_are_not_refreshed(self, store):
        assert not await store.coordinator.refresh_card("p", LONG)
        await store.coordinator.put_card("p", b"one", store.ttl)
        await store.let_pass()
        assert not await store.coordinator.refresh_card("p", LONG)
        assert await store.coordinator.cards() == {}


class TestMaster:
    async def test_is_nobody_at_first(self, coordinator):
        assert await coordinator.master() == MasterRecord(0, "")

    async def test_is_set_if_the_epoch_is_the_expected_one(self, coordinator):
        first, second = MasterRecord(4, "a"), MasterRecord(9, "b")
        assert await coordinator.swap_master(0, first) == first
        assert await coordinator.master() == first
        assert await coordinator.swap_master(4, second) == second
        assert await coordinator.master() == second

    @pytest.mark.parametrize("expected", [0, 3, 5])
    async def test_stays_if_it_is_not(self, coordinator, expected):
        present = MasterRecord(4, "a")
        await coordinator.swap_master(0, present)
        assert await coordinator.swap_master(expected, MasterRecord(9, "b")) == present
        assert await coordinator.master() == present

    async def test_setting_it_may_be_repeated(self, coordinator):
        record = MasterRecord(4, "a")
        assert await coordinator.swap_master(0, record) == record
        assert await coordinator.swap_master(0, record) == record

    @pytest.mark.parametrize("epoch", [0, 3, 4])
    async def test_epochs_only_grow(self, coordinator, epoch):
        present = MasterRecord(4, "a")
        await coordinator.swap_master(0, present)
        with pytest.raises(ValueError, match="greater than 4"):
            await coordinator.swap_master(4, MasterRecord(epoch, "b"))
        assert await coordinator.master() == present

    async def test_of_many_at_once_one_is_set(self, coordinator):
        answers = []

        async def swap(node):
            answers.append(await coordinator.swap_master(0, MasterRecord(1, node)))

        async with trio.open_nursery() as nursery:
            for node in "abcdefghij":
                nursery.start_soon(swap, node)
        assert set(answers) == {await coordinator.master()}

    async def test_does_not_end_with_time(self, store):
        await store.coordinator.swap_master(0, MasterRecord(1, "a"))
        await store.let_pass()
        assert await store.coordinator.master() == MasterRecord(1, "a")


class TestClosing:
    async def test_is_done_though_cancelled(self, coordinator):
        await coordinator.put_card("p", b"one", LONG)
        with trio.CancelScope() as scope:
            scope.cancel()
            await coordinator.aclose()
        await coordinator.aclose()


async def test_memory_counts_by_trios_clock(autojump_clock):
    coordinator = MemoryCoordinator()
    await coordinator.put_card("p", b"", 10.0)
    await trio.sleep(9.0)
    assert await coordinator.cards() == {"p": b""}
    await trio.sleep(1.0)
    assert await coordinator.cards() == {}
