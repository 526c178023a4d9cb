"""The cluster with the stores that operators have."""

import sqlite3
from contextlib import AsyncExitStack, closing

import pytest
import trio
from structlog.testing import capture_logs

from holdfast.protocols.errors import ConfigError
from tests.harness import running
from tests.proxy.cluster.proxies import QUICK, id_of, ids
from tests.redis_servers import RedisServer


@pytest.fixture
def redis_server(tmp_path):
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


async def become_one(stack, **store):
    proxies = [await stack.enter_async_context(running(store=dict(store), cluster=dict(QUICK))) for _ in range(2)]
    for proxy in proxies:
        await proxy.until(lambda: ids(proxy) == set(map(id_of, proxies)), "both to be members")  # noqa: B023
    return proxies


async def test_sqlite(tmp_path):
    async with AsyncExitStack() as stack:
        first, second = await become_one(stack, kind="sqlite", path=str(tmp_path / "store"))
        await second.app.runner.leave()
        await first.until(lambda: ids(first) == {id_of(first)}, "it to be gone")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cluster SET epoch = 'abc'",
        "UPDATE cluster SET node = x'ff'",
        "UPDATE cards SET card = 'text'",
    ],
)
async def test_bad_content_ends_no_proxy_and_is_a_line(tmp_path, statement):
    """Which says what is wrong. All go on without the store, as if it were away."""
    path = tmp_path / "store"
    with capture_logs() as lines:
        async with AsyncExitStack() as stack:
            proxies = await become_one(stack, kind="sqlite", path=str(path), timeout=0.4)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("CREATE TRIGGER kept BEFORE INSERT ON cards BEGIN SELECT RAISE(IGNORE); END")
                db.execute(statement)
            for proxy in proxies:
                counters = proxy.app.runner.cluster.counters
                errors = counters.store_errors
                await proxy.until(lambda: counters.store_errors > errors + 1, "it to be read")  # noqa: B023
            assert [proxy.app.runner.trouble() for proxy in proxies] == ["", ""]
            assert [ids(proxy) for proxy in proxies] == [{*map(id_of, proxies)}] * 2
    told = [line for line in lines if line["event"] == "store_failed"]
    assert len(told) == 2
    assert all(str(path) in line["error"] for line in told)
    assert not [line for line in lines if "exc_info" in line or "exception" in line]


async def test_a_table_without_its_row_has_it_again(tmp_path):
    """As if the store had forgotten: its members write what they follow."""
    path = tmp_path / "store"
    async with AsyncExitStack() as stack:
        proxies = await become_one(stack, kind="sqlite", path=str(path), timeout=0.4)
        with closing(sqlite3.connect(path)) as db:
            (before,) = db.execute("SELECT epoch FROM cluster").fetchone()
            with db:
                db.execute("DELETE FROM cluster")

            def is_back():
                row = db.execute("SELECT epoch FROM cluster").fetchone()
                return row is not None and row[0] >= before > 0

            await proxies[0].until(is_back, "the record to be there")
        assert [ids(proxy) for proxy in proxies] == [{*map(id_of, proxies)}] * 2


async def test_redis_may_go_and_come_back(redis_server):
    async with AsyncExitStack() as stack:
        first, second = await become_one(stack, kind="redis", urls=(redis_server.url,), timeout=0.4)
        version = first.app.control.cluster().version
        await trio.to_thread.run_sync(redis_server.stop)
        for proxy in (first, second):
            counters = proxy.app.runner.cluster.counters
            errors = counters.store_errors
            await proxy.until(lambda: counters.store_errors > errors + 1, "it to be missed")  # noqa: B023
            assert proxy.app.runner.trouble() == ""
        await trio.to_thread.run_sync(redis_server.start)  # empty: it knows nothing of a cluster
        third = await stack.enter_async_context(
            running(store={"kind": "redis", "urls": (redis_server.url,)}, cluster=dict(QUICK))
        )
        for proxy in (first, second, third):
            await proxy.until(lambda: ids(proxy) == {id_of(first), id_of(second), id_of(third)}, "the third to join")  # noqa: B023
        assert first.app.control.cluster().version > version


async def test_clusters_of_other_names_are_other_clusters(redis_server):
    """They share the Redis. What is done to one is nothing to the other."""
    async with AsyncExitStack() as stack:
        first, second = await become_one(stack, kind="redis", urls=(redis_server.url,), name="one")
        stranger = await stack.enter_async_context(
            running(store={"kind": "redis", "urls": (redis_server.url,), "name": "two"}, cluster=dict(QUICK))
        )
        assert ids(stranger) == {id_of(stranger)}
        version = first.app.control.cluster().version
        stranger.app.runner.reset()
        await stranger.until(lambda: stranger.app.control.cluster().version > 1, "its reset")
        assert ids(stranger) == {id_of(stranger)}
        for proxy in (first, second):
            assert ids(proxy) == {id_of(first), id_of(second)}
            assert proxy.app.control.cluster().version == version


async def test_a_store_that_refuses_us_ends_the_start_at_once(redis_server, tmp_path):
    """Not after all attempts to join: 30 of them, by default."""
    redis_server.ask("CONFIG", "SET", "requirepass", "right")
    wrong = {"kind": "redis", "urls": (redis_server.url,), "password": "wrong"}
    for store, named in ((wrong, "store.password"), ({"kind": "sqlite", "path": str(tmp_path)}, "unable to open")):
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=named), flatten_subgroups=True):
            async with running(store=store, cluster={**QUICK, "retry_join": 10**6}):
                pass
