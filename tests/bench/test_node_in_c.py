"""The benchmark's node in C speaks the node protocol as it is today: a proxy takes it, and its clients are served."""

import os
import shutil
import subprocess
import urllib.request
from contextlib import ExitStack

import pytest
from websockets.sync.client import connect

from bench.build import LIBRARIES, SOURCES
from bench.process import Process
from bench.systems import holdfast
from bench.systems.base import pipe
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

CPU = min(os.sched_getaffinity(0))
CLIENTS = 3


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    program = tmp_path_factory.mktemp("programs") / "node"
    strict = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", *strict, "-o", program, SOURCES / "node.c", *LIBRARIES["node"]], check=True)
    return program


def test_it_echoes_publishes_and_has_items(program):
    with holdfast.serve(cpu=CPU) as (_, port, address), pipe() as (commands, publish), ExitStack() as clients:
        options = ("--join", address, "--channel", "all", "--members", str(CLIENTS), "--tell", str(CLIENTS))
        with Process(program, *options, cpu=CPU, stdin=commands) as node:
            assert node.read() == {"ready": True}
            sockets = [clients.enter_context(connect(f"ws://127.0.0.1:{port}/")) for _ in range(CLIENTS)]
            for number, socket in enumerate(sockets):
                socket.send(f"message {number}")
                assert socket.recv(PATIENCE) == f"message {number}"
            assert [node.read(), node.read()] == [{"clients": CLIENTS}, {"joined": CLIENTS}]
            os.write(publish, b"xx")
            heard = [[socket.recv(PATIENCE) for _ in "xx"] for socket in sockets]
            assert heard == [heard[0]] * CLIENTS
            assert len(set(heard[0])) == 2
            item = f"http://127.0.0.1:{port}/items/00000001-00000002?bytes=00000040"
            with urllib.request.urlopen(item, timeout=PATIENCE) as answer:
                body = answer.read()
            assert len(body) == 64
            assert body.startswith(b'{"id":"00000001-00000002"')
