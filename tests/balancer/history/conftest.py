import pytest

from tests.redis_servers import RedisServer


@pytest.fixture
def redis_server(tmp_path):
    """A server of this test's own, that it may stop, freeze and reconfigure."""
    server = RedisServer(tmp_path / "redis")
    try:
        yield server.start()
    finally:
        server.stop()
