"""The ladder: that its steps add up, and that its programs do what they are measured by."""

import os
import signal
import socket
import struct
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from bench.bare_node import Session
from bench.ladder import ALL, IO_THREAD, NODE, PROXY
from bench.process import Process
from bench.rungs import ANSWER, NONCE
from bench.systems.holdfast import serve
from bench.watched_proxy import PAUSES_FILE
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


CPU = min(os.sched_getaffinity(0))
PATIENCE = ("node.heartbeat_timeout=1h", "request.parked_timeout=1m")
LENGTH = struct.Struct("<I")


@pytest.fixture(params=["loop", "reactor", "connection"])
def program(request):
    with Process(sys.executable, "-m", "bench.rungs", request.param, cpu=CPU) as process:
        yield request.param, process


@contextmanager
def upgraded(port):
    """A client, and the head of what it was answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: " + NONCE.encode() + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = client.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert head.endswith(b"\r\n\r\n")
        yield client, head


def check_echo(client):
    for _ in range(2):
        client.sendall(Frame(Opcode.TEXT, b"x" * 160).serialize(mask=True))
        expected = Frame(Opcode.TEXT, b"x" * 160).serialize(mask=False)
        assert client.recv(len(expected), socket.MSG_WAITALL) == expected


def check_parts(name, process):
    os.kill(process.pid, signal.SIGUSR1)
    parts = process.read()
    assert set(parts) == {*PARTS.get(name, ())} - {IO_THREAD}
    assert all(parts.values())


def test_the_programs_answer_and_tell_their_parts(program):
    name, process = program
    with upgraded(process.read()["port"]) as (client, head):
        assert name == "connection" or head == ANSWER
        check_echo(client)
        check_parts(name, process)  # while its client is there: it ends when that goes


@contextmanager
def zeromq_node(address):
    with Process(sys.executable, "-m", "bench.bare_node", address, cpu=CPU):
        yield


@contextmanager
def stream_node(address):
    kind, _, place = address.partition("://")
    node = socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET)
    if kind == "ipc":
        node.connect(place)
    else:
        host, _, port = place.rpartition(":")
        node.connect((host, int(port)))
    thread = threading.Thread(target=answer_all, args=[node])
    thread.start()
    yield
    node.shutdown(socket.SHUT_RDWR)
    thread.join()
    node.close()


def answer_all(node):
    session = Session()
    said = session.hello()
    with suppress(ConnectionError):  # the proxy may be saying something when its node goes
        while True:
            if said:
                node.sendall(LENGTH.pack(len(said)) + said)
            if not (head := node.recv(LENGTH.size, socket.MSG_WAITALL)):
                return
            said = session.answer(node.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL))


@pytest.mark.parametrize(
    ("module", "bind", "node"),
    [
        ("bench.watched_proxy", "tcp://127.0.0.1:*", zeromq_node),
        ("bench.stream_link", "tcp://127.0.0.1:*", stream_node),
        ("bench.stream_link", "ipc://{folder}/node", stream_node),
    ],
)
def test_every_program_that_is_holdfast_answers(module, bind, node, tmp_path):
    (tmp_path / "pauses").touch()
    environment = {PAUSES_FILE: str(tmp_path / "pauses")}
    with (
        serve(*PATIENCE, module=module, bind=bind, cpu=CPU, environment=environment) as (_, port, address),
        node(address),
        upgraded(port) as (client, _),
    ):
        check_echo(client)


def test_what_has_its_node_inside_answers_and_tells_its_parts():
    with serve(*PATIENCE, module="bench.memory_link", cpu=CPU) as (process, port, _), upgraded(port) as (client, _):
        check_echo(client)
        check_parts("inside", process)


def test_holdfast_answers_and_the_bare_node_tells_its_parts():
    with serve(*PATIENCE, cpu=CPU) as (_, port, address):
        command = (sys.executable, "-m", "bench.bare_node", address)
        with Process(*command, cpu=CPU) as node, upgraded(port) as (client, _):
            check_echo(client)
            check_parts("bare", node)
