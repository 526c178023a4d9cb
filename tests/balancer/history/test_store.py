import time

import pytest

from holdfast.balancer.history.base import Append, Keep, LogUnavailable
from holdfast.balancer.history.memory import MemoryLog
from holdfast.balancer.history.redis import RedisLog
from holdfast.balancer.history.sqlite import SqliteLog
from holdfast.balancer.history.store import open_log
from holdfast.balancer.settings import HistorySettings, StoreSettings
from holdfast.protocols.errors import ConfigError

KEEP = Keep(1000, 0, 3600.0)
APPEND = Append("c", b"i", b"payload", True, b"", KEEP)


@pytest.fixture
def opened():
    logs = []
    yield logs
    for log in logs:
        log.close()


def shared(opened, settings, number=2, history=None):
    opened += (open_log(settings, history or HistorySettings()) for _ in range(number))
    return opened[-number:]


def last(log):
    return log.read("c", 0, 10, 1000, time.time()).last


def test_memory_is_one_proxys(opened):
    one, other = shared(opened, StoreSettings())
    assert isinstance(one, MemoryLog)
    one.append([APPEND], time.time())
    assert last(other) == 0


def test_sqlite_is_a_file_beside_that_of_coordination(opened, tmp_path):
    one, other = shared(opened, StoreSettings(kind="sqlite", path=str(tmp_path / "store")))
    assert isinstance(one, SqliteLog)
    one.append([APPEND], time.time())
    assert last(other) == 1
    assert (tmp_path / "store-history").exists()
    assert not (tmp_path / "store").exists()


def test_redis_is_shared_by_those_of_one_name(opened, redis_server):
    settings = [StoreSettings(kind="redis", name=name, urls=(redis_server.url,), timeout=20.0) for name in ("a", "b")]
    one, same = shared(opened, settings[0])
    [other] = shared(opened, settings[1], 1)
    assert isinstance(one, RedisLog)
    one.append([APPEND], time.time())
    assert last(same) == 1
    assert last(other) == 0
    with redis_server.client() as client:
        assert all(key.startswith((b"{holdfast:a}:history", b"{holdfast:b}:history")) for key in client.scan_iter())


def test_it_may_be_elsewhere_than_coordination(opened, tmp_path):
    settings = StoreSettings(path=str(tmp_path / "store"))
    [log] = shared(opened, settings, 1, HistorySettings(kind="sqlite"))
    assert isinstance(log, SqliteLog)


def test_the_settings_are_its(opened):
    [log] = shared(opened, StoreSettings(), 1, HistorySettings(max_bytes=5000, max_identities=10))
    for number in range(100):
        log.append([APPEND._replace(identity=b"%d" % number, payload=bytes(100))], time.time())
    assert log.made_room
    assert log.forgotten_early


def test_opening_does_not_reach_for_the_store(opened):
    [log] = shared(opened, StoreSettings(kind="redis", urls=("redis://127.0.0.1:1",)), 1)
    with pytest.raises(LogUnavailable, match=r"Redis 127\.0\.0\.1:1: .*refused"):
        log.append([APPEND], time.time())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (StoreSettings(kind="sqlite"), "store.path: expected a file"),
        (StoreSettings(kind="redis", urls=()), "store.urls: expected at least one URL"),
        (StoreSettings(kind="redis", urls=("redis://u:hunter2@h",)), "store.urls: expected no password"),
    ],
)
def test_settings_that_say_not_where(settings, message):
    with pytest.raises(ConfigError, match=message) as raised:
        open_log(settings, HistorySettings())
    assert "hunter2" not in str(raised.value)
