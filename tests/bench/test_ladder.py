"""The ladder: that its steps add up, and that its programs do what they are measured by."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from bench.bare_node import Session
from bench.ladder import ALL, NODE, PROXY
from bench.rungs import ANSWER, NONCE
from holdfast.protocols.nodes.frames import Clients, Ready, Reply, Request, State, decode_from_node, encode_batch

PARTS = {
    "loop": ("read", "adapter", "write"),
    "inside": ("node", "batches"),
    "proxy": ("I/O thread",),
    "bare": ("batches", "I/O thread"),
    "library": ("I/O thread",),
}
costs = st.floats(0.01, 100.0)


@pytest.mark.parametrize("ladder", [PROXY, NODE], ids=lambda ladder: ladder.title)
@given(data=st.data())
def test_the_steps_add_up_to_the_last_one(ladder, data):
    run = {
        name: {ALL: data.draw(costs)} | {part: data.draw(costs) for part in PARTS.get(name, ())}
        for name in ladder.rungs
    }
    *steps, whole = (step.cost(run) for step in ladder.steps)
    assert sum(steps) == pytest.approx(whole)


def test_the_bare_node_says_what_a_node_must():
    session = Session()
    assert decode_from_node(session.hello())[0] == 1
    assert session.answer(encode_batch(1, [Clients([], True)])) == b""
    assert decode_from_node(session.answer(encode_batch(2, [State(0, 0, [], True)]))) == (2, [Ready()])
    request = Request(7, 1, 2, 1000, b"hello", True)
    assert decode_from_node(session.answer(encode_batch(3, [request]))) == (3, [Reply(7, 2, b"hello", True)])


@pytest.fixture(params=["loop", "reactor", "connection"])
def program(request):
    command = [sys.executable, "-m", "bench.rungs", request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield request.param, process
        finally:
            process.kill()


def test_the_programs_answer_and_tell_their_parts(program):
    name, process = program
    port = json.loads(process.stdout.readline())["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: " + NONCE.encode() + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = client.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert head.endswith(b"\r\n\r\n")
        assert name == "connection" or head == ANSWER
        for _ in range(2):
            client.sendall(Frame(Opcode.TEXT, b"x" * 160).serialize(mask=True))
            expected = Frame(Opcode.TEXT, b"x" * 160).serialize(mask=False)
            assert client.recv(4096) == expected
        os.kill(process.pid, signal.SIGUSR1)  # while its client is there: it ends when that goes
        parts = json.loads(process.stdout.readline())
    assert set(parts) == set(PARTS.get(name, ()))
    assert all(parts.values())
