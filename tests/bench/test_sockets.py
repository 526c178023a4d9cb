import os
import socket

import pytest

from bench.process import BenchError
from bench.sockets import Traffic, count, traffic

SHOWN = """\
0 0 127.0.0.1:7511 127.0.0.1:40001 users:(("python",pid=1,fd=31)) bbr bytes_sent:1000 bytes_acked:1000 bytes_received:7
0 0 [::ffff:127.0.0.1]:40001 [::ffff:127.0.0.1]:7511 users:(("python",pid=2,fd=9)) bbr bytes_sent:7 bytes_received:1000
0 0 127.0.0.1:7510 127.0.0.1:40002 users:(("python",pid=1,fd=32)) bbr bytes_sent:30 bytes_received:400
0 0 127.0.0.1:40002 127.0.0.1:7510 users:(("python",pid=3,fd=5)) bbr bytes_sent:400 bytes_received:30
0 0 127.0.0.1:7510 127.0.0.1:40006 users:(("python",pid=1,fd=36)) bbr bytes_sent:4 bytes_received:50
0 0 127.0.0.1:40006 127.0.0.1:7510 users:(("python",pid=5,fd=5)) bbr bytes_sent:50 bytes_received:4
0 0 127.0.0.1:7512 127.0.0.1:40003 users:(("python",pid=1,fd=33)) bbr bytes_sent:5000 bytes_received:6000
0 0 127.0.0.1:40003 127.0.0.1:7512 users:(("curl",pid=4,fd=5)) bbr bytes_sent:6000 bytes_received:5000
0 0 10.0.0.1:40004 10.0.0.2:6379 users:(("python",pid=1,fd=34)) bbr bytes_sent:9 bytes_received:9
0 0 127.0.0.1:7513 127.0.0.1:40005 users:(("python",pid=1,fd=35)) bbr rto:204 cwnd:10
"""


def test_counts_by_who_has_the_other_end():
    assert count(SHOWN, {1, 2}, {3, 5}) == Traffic(between_proxies=1007, to_nodes=34, from_nodes=450)


def test_since():
    assert Traffic(10, 20, 30).since(Traffic(1, 2, 3)) == Traffic(9, 18, 27)


def test_what_this_process_says():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as here, server.accept()[0] as there:
            before = traffic({os.getpid()}, ())
            here.sendall(bytes(1000))
            there.recv(1000, socket.MSG_WAITALL)
            for _ in range(100):  # the kernel leaves connections out while many others come and go
                if traffic({os.getpid()}, ()).since(before).between_proxies >= 1000:
                    return
    pytest.fail("they are not counted")


def test_no_ss(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchError, match="no ss"):
        traffic((), ())
