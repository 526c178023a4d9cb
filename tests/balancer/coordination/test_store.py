import pytest

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.store import open_store
from holdfast.balancer.settings import StoreSettings
from holdfast.protocols.errors import ConfigError

RECORD = MasterRecord(1, "a")


async def test_sqlite(tmp_path):
    settings = StoreSettings(kind="sqlite", path=str(tmp_path / "store"))
    one, other = open_store(settings), open_store(settings)
    await one.swap_master(0, RECORD)
    assert await other.master() == RECORD
    await one.aclose()
    await other.aclose()


async def test_redis_is_shared_by_those_of_one_name(redis_server):
    stores = [
        open_store(StoreSettings(kind="redis", name=name, urls=(redis_server.url,), timeout=20.0))
        for name in ("one", "one", "other {name}")
    ]
    one, same, other = stores
    await one.swap_master(0, RECORD)
    await one.put_card("p", b"card", 1000.0)
    assert await same.master() == RECORD
    assert await other.master() == MasterRecord()
    assert await other.cards() == {}
    for store in stores:
        await store.aclose()


async def test_the_database_of_the_url_is_used(redis_server):
    one, other = (
        open_store(StoreSettings(kind="redis", urls=(f"{redis_server.url}/{number}",), timeout=20.0))
        for number in (0, 1)
    )
    await one.swap_master(0, RECORD)
    assert await other.master() == MasterRecord()
    await one.aclose()
    await other.aclose()


async def test_opening_does_not_reach_for_the_store():
    store = open_store(StoreSettings(kind="redis", urls=("redis://127.0.0.1:1",)))
    with pytest.raises(CoordinationError, match=r"Redis 127\.0\.0\.1:1: .*refused"):
        await store.master()
    await store.aclose()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (StoreSettings(kind="sqlite"), "store.path: expected the file"),
        (StoreSettings(kind="redis", urls=()), "store.urls: expected at least one URL"),
        (StoreSettings(kind="redis", urls=("redis://u:hunter2@h",)), "store.urls: expected no password"),
    ],
)
def test_settings_that_say_not_where(settings, message):
    with pytest.raises(ConfigError, match=message) as raised:
        open_store(settings)
    assert "hunter2" not in str(raised.value)
