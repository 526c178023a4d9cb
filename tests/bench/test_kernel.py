import socket

import pytest

from bench.kernel import Sockets, sockets

PAIRS = 150


def test_memory_of_one_is_what_came_by_what_it_came_for():
    before = Sockets(number=10, cache_bytes=1000, name_bytes=192)
    assert Sockets(number=30, cache_bytes=41_000, name_bytes=192).bytes_each(before) == 2192


@pytest.mark.skipif(sockets() is None, reason="only root may ask the kernel")
def test_sockets_are_seen():
    with socket.create_server(("127.0.0.1", 0), backlog=PAIRS) as server:
        ends = [socket.create_connection(server.getsockname()) for _ in range(PAIRS)]
        ends += [server.accept()[0] for _ in range(PAIRS)]
        now = sockets()
        for end in ends:
            end.close()
    assert now.number > 2 * PAIRS  # and not by how many more: others on this machine come and go
    assert now.cache_bytes > now.number * 2048
    assert 0 < now.name_bytes < 1024
