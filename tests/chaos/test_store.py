import shutil
import signal
import socket
from urllib.parse import urlsplit

import pytest
import redis

from holdfast.chaos.processes import Processes
from holdfast.chaos.store import RedisServer
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.proxy.config import load

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path) as processes:
        yield processes


def url_of(server):
    return load(None, {}, server.settings).config.store.urls[0]


def client(server):
    return redis.Redis.from_url(url_of(server))


@needs_redis
async def test_killed_and_started_anew_where_it_was(processes):
    server = RedisServer(processes)
    await server.start()
    with client(server) as connection:
        connection.set("key", "value")
    assert await server.kill().wait() == -signal.SIGKILL
    with client(server) as connection, pytest.raises(redis.ConnectionError):
        connection.get("key")
    await server.start()
    with client(server) as connection:
        assert connection.get("key") is None  # it has forgotten everything


@needs_redis
async def test_one_that_cannot_start_says_why(processes):
    server = RedisServer(processes)
    with socket.socket() as other:
        other.bind(("127.0.0.1", urlsplit(url_of(server)).port))
        with pytest.raises(HoldfastError, match=r"(?s)redis-server did not start.*Address already in use"):
            await server.start()


def test_there_is_none(processes, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="no redis-server here"):
        RedisServer(processes)
