"""Strangers at the node port and at what proxies publish on: real sockets of another process, and what they cost us."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio
import zmq
import zmq.auth
from structlog.testing import capture_logs

from holdfast import masses
from holdfast.balancer.links import door
from holdfast.balancer.links.callers import Callers
from holdfast.balancer.links.guard import Guard
from holdfast.masses import MOST
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import Via, encode_batch
from tests.harness import ScriptedNode, running
from tests.proxy.cluster.proxies import cluster_of, id_of
from tests.waiting import PATIENCE, until

MIB = 1 << 20
FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)
ATTACK = '''
import socket, sys, threading, time
host, _, port = sys.argv[1].rpartition("://")[2].rpartition(":")
GREETING = b"\\xff" + bytes(8) + b"\\x7f\\x03\\x01NULL" + bytes(16) + bytes(32)
CURVE = GREETING.replace(b"NULL", b"CURV").replace(b"CURV" + bytes(1), b"CURVE")
def dealer():
    ready = b"\\x05READY\\x0bSocket-Type\\x00\\x00\\x00\\x06DEALER"
    return b"\\x04" + bytes([len(ready)]) + ready
def subscriber():
    ready = b"\\x05READY\\x0bSocket-Type\\x00\\x00\\x00\\x03SUB"
    return b"\\x04" + bytes([len(ready)]) + ready
def long(flags, size):
    return bytes([flags | 2]) + size.to_bytes(8, "big")
CHUNK = bytes(1 << 16)
DROP = bytes([1, 40]) + bytes(40)  # a part of a message that goes on
def say(*parts, mib=0, drops=0, stays=False):
    """One connection: parts, then so many MiB or drops, and whether it waits to be ended."""
    try:
        with socket.create_connection((host, int(port)), 10) as it:
            for part in parts:
                it.sendall(part)
            for _ in range(mib * 16):
                it.sendall(CHUNK)
            it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(drops):
                time.sleep(0.005)
                it.sendall(DROP)
            if stays:
                it.settimeout(60)
                while it.recv(1 << 16):
                    pass
    except OSError:
        pass
def many(count, *parts, **options):
    threads = [threading.Thread(target=say, args=parts, kwargs=options, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
'''


def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def attack(address, script, watching=lambda: None):
    """Run it in a process of its own. Returns by how much we grew, at most, while it ran."""
    before = most = rss()
    command = [sys.executable, "-c", ATTACK + textwrap.dedent(script), address]
    with subprocess.Popen(command) as process:  # noqa: ASYNC220 - it takes a millisecond
        try:
            while process.poll() is None:
                most = max(most, rss())
                watching()
                await trio.sleep(0.002)
        finally:
            process.kill()
    return most - before


async def serves(proxy):
    """An honest node gets in, and is answered."""
    with trio.fail_after(PATIENCE), ScriptedNode(proxy.node, token="secret") as node:
        await node.join()


async def test_a_peer_whose_zmtp_is_too_old_is_told_so():
    """libzmq takes what comes with another signature for ZMTP 1.0, and says nothing of the connection."""
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            host, _, port = proxy.node.removeprefix("tcp://").rpartition(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(b"\x01\x00" + b"\x06\x00hello")  # an identity, and a message
                heard = b""
                with trio.fail_after(PATIENCE):
                    while b"expected ZMTP 3.0" not in heard:
                        heard += await stream.receive_some(1000)
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)


FLOODS = {
    "a message short of its last byte": "many(150, GREETING, dealer(), long(0, 16 << 20), mib=15, stays=True)",
    "a command of the handshake": "many(60, GREETING, long(4, 15 << 20), mib=14, stays=True)",
    "parts without end, each in a segment": "many(250, GREETING, dealer(), drops=370, stays=True)",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_stranger_at_the_node_port_does_not_cost_much(flood):
    async with running(node={"token": "secret"}) as proxy:
        await serves(proxy)
        with ScriptedNode(proxy.node, token="secret") as node:
            await node.join()
            grown = await attack(proxy.node, flood)
            assert grown < 192 * MIB  # without the door: 841, 842, 288
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)
        await serves(proxy)


@pytest.fixture
def keys(tmp_path):
    """Settings of a proxy with CURVE, and the pair of a node that is authorized."""
    authorized = tmp_path / "authorized"
    authorized.mkdir()
    (_, ours), (public, theirs) = (zmq.auth.create_certificates(tmp_path, name) for name in ("proxy", "node"))
    os.link(public, authorized / "node.key")
    os.link(tmp_path / "proxy.key", authorized / "proxy.key")
    server_key, _ = zmq.auth.load_certificate(ours)
    settings = {"curve_secret_key_file": ours, "curve_authorized_keys": str(authorized)}
    return settings, (*zmq.auth.load_certificate(theirs), server_key)


async def test_a_command_of_curves_handshake_does_not_cost_much(keys):
    settings, pair = keys
    async with running(node=settings) as proxy:
        grown = await attack(proxy.node, "many(60, CURVE, long(4, 15 << 20), mib=14, stays=True)")
        assert grown < 192 * MIB  # without the door: 841, 842, 288
        with ScriptedNode(proxy.node, curve=pair) as node:
            await node.join()


async def test_a_nodes_key_does_not_let_it_hear_what_proxies_publish(keys):
    settings, (public, secret, server_key) = keys
    async with cluster_of(2, node=settings) as (first, second):
        assert not first.app.runner.trouble()
        assert not second.app.runner.trouble()

        def authenticate(socket):
            socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = public, secret, server_key

        assert not await hears(first, authenticate)


async def test_over_a_unix_socket_too(tmp_path, monkeypatch):
    async with running(node={"bind": (f"ipc://{tmp_path}/node",), "token": "secret"}) as proxy:
        with ScriptedNode(proxy.node, token="secret") as node, ScriptedNode(proxy.node, token="wrong"):
            await node.join()
            monkeypatch.setattr(door, "PATIENCE", 0.2)
            await proxy.until(lambda: proxy.app.hub.callers.door.ended == 1, "the other one to be ended")
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)
        await proxy.until(lambda: not proxy.app.hub._links, "it to be known that it has gone")


async def test_who_does_not_say_who_it_is_does_not_stay(monkeypatch):
    async with running(node={"token": "secret"}) as proxy:
        with ScriptedNode(proxy.node, token="secret") as node, ScriptedNode(proxy.node, token="wrong") as stranger:
            await node.join()
            stranger.say(stranger.hello)
            await stranger.take(frames.Refused)
            monkeypatch.setattr(door, "PATIENCE", 0.2)
            await attack(proxy.node, "many(40, GREETING, dealer(), stays=True)")  # it ends when all of them have
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)
            callers = proxy.app.hub.callers
            await proxy.until(lambda: callers.door.ended >= 41 and not len(callers.door), "the last of them to go")
            assert set(callers._identities.values()) >= set(proxy.app.hub._links)


async def test_a_stranger_has_one_hello(monkeypatch):
    """What follows it in the same connection is not looked at, and the connection is ended, however little it says."""
    monkeypatch.setattr(door, "PATIENCE", 600.0)
    monkeypatch.setattr(door, "FAREWELL", 600.0)
    monkeypatch.setattr(door, "MAX_SEGMENTS", 1000)  # on a busy machine each of them is one
    async with running(node={"token": "secret"}) as proxy:
        hub = proxy.app.hub
        with capture_logs() as lines, ScriptedNode(proxy.node) as stranger:
            for number in range(1, 201):
                stranger.say_raw(encode_batch(1, [stranger.hello]))
                if number == 1:
                    await stranger.take(frames.Refused)
            await proxy.until(lambda: hub.batches_received == 200, "all to come")
            assert hub.callers.door.ended == 0
            monkeypatch.setattr(door, "FAREWELL", 0.0)
            await proxy.until(lambda: hub.callers.door.ended == 1, "it to be ended")
            await proxy.until(lambda: not hub.callers._refused, "it to be forgotten")
        assert [line["why"] for line in lines if line["event"] == "node_refused"] == [frames.NO_TOKEN]
        await serves(proxy)


async def test_what_a_node_says_after_its_session_is_answered_each_time():
    """It may not have been told: there was no room, or it did not read."""
    async with running(node={"token": "secret"}) as proxy:
        with ScriptedNode(proxy.node, token="secret") as node:
            await node.join()
            node.say(frames.Bye())
            for _ in range(3):
                node.say(frames.Heartbeat(1.0))
                await node.take(frames.Refused)
            assert proxy.app.hub.callers.door.ended == 0


async def test_a_mass_of_strangers_is_few_lines(monkeypatch):
    monkeypatch.setattr(masses, "INTERVAL", 1e6)
    monkeypatch.setattr(door, "FAREWELL", 0.0)
    async with running(node={"token": "secret"}) as proxy:
        with capture_logs() as lines:
            for number in range(1, MOST + 6):
                with ScriptedNode(proxy.node) as stranger:
                    stranger.say(stranger.hello)
                    await proxy.until(
                        lambda number=number: proxy.app.hub.callers.door.ended == number, "it to be ended"
                    )
            monkeypatch.setattr(masses, "INTERVAL", 0.0)
            told = "node_refused", "stranger_ended"
            await proxy.until(lambda: {line["of"] for line in left_out(lines)} >= {*told}, "the counts")
    for event in told:
        assert len([line for line in lines if line["event"] == event]) == MOST
        assert [line["count"] for line in left_out(lines) if line["of"] == event] == [5]
    assert {line["of"]: line["log_level"] for line in left_out(lines)} == {
        "node_refused": "warning", "stranger_ended": "debug",
    }  # fmt: skip


def left_out(lines):
    return [line for line in lines if line["event"] == "lines_left_out"]


async def test_while_we_stood_still_nobody_could_say_who_it_is():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as bound, context.socket(zmq.DEALER) as stranger:
        bound.linger = stranger.linger = 0
        at_the_door = door.Door(bound)
        port = bound.bind_to_random_port("tcp://127.0.0.1")
        stranger.connect(f"tcp://127.0.0.1:{port}")

        def is_there():
            at_the_door.take_events(10.0)
            return len(at_the_door) == 1

        await until(is_there)
        at_the_door.look(10.0, int)
        at_the_door.look(100.0, int)
        for tenths in range(1000, 1044):
            at_the_door.look(tenths / 10, int)
        assert len(at_the_door) == 1
        for tenths in range(1044, 1051):
            at_the_door.look(tenths / 10, int)
        assert (len(at_the_door), at_the_door.ended) == (0, 1)
        at_the_door.close()


async def test_they_are_not_more_than_so_many(monkeypatch):
    async with running(node={"token": "secret"}) as proxy:
        callers = proxy.app.hub.callers
        monkeypatch.setattr(callers.door, "_limit", 8)
        most = 0

        def count():
            nonlocal most
            most = max(most, len(callers.door))

        await attack(proxy.node, "many(60, GREETING, dealer(), stays=True)", count)
        assert 0 < most <= 8
        await serves(proxy)


async def test_the_going_of_strangers_is_looked_at_in_no_session():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await proxy.until(lambda: not proxy.app.hub.callers._ended, "it to be looked at once, as it is new")
            node.inbox.clear()
            empty = node.empty
            await attack(proxy.node, "for _ in range(300): say(GREETING, dealer())")
            await proxy.until(lambda: not len(proxy.app.hub.callers.door), "them to be gone")
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)
            assert node.empty == empty


PUB_FLOODS = {
    "a long subscription": "many(20, GREETING, subscriber(), long(0, 16 << 20), mib=16, stays=True)",
    "a long command of the handshake": "many(60, GREETING, long(4, 16 << 20), mib=16, stays=True)",
    "many subscriptions": """
        import os
        for _ in range(20):
            topics = b"".join(b"\\x00\\x09\\x01" + os.urandom(8) for _ in range(50_000))
            many(1, GREETING, subscriber(), topics, stays=True)
    """,
}


@pytest.mark.parametrize("token", ["", "secret"])
@pytest.mark.parametrize("flood", PUB_FLOODS.values(), ids=PUB_FLOODS)
async def test_a_stranger_where_proxies_publish_does_not_cost_much(flood, token):
    async with cluster_of(2, node={"token": token}, cluster={"heartbeat_timeout": 5.0}) as (first, second):
        grown = await attack(first.app.runner.cluster.me.pub, flood)
        assert grown < 192 * MIB  # without the door: 841, 842, 288
        assert not first.app.runner.trouble()
        assert not second.app.runner.trouble()


async def hears(proxy, authenticate):
    """Whether somebody does who subscribes with that, before the handshake is found to fail."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        authenticate(socket)
        socket.linger = 0
        socket.subscribe(b"")
        monitor = socket.get_monitor_socket(FAILED)
        socket.connect(proxy.app.runner.cluster.me.pub)
        with trio.fail_after(PATIENCE):
            while not monitor.poll(0) and not socket.poll(0):  # noqa: ASYNC110 - libzmq's thread
                await trio.sleep(0.005)
        socket.disable_monitor()
        monitor.close(linger=0)
        return bool(socket.poll(0))


async def test_who_has_no_token_hears_nothing_that_proxies_publish():
    async with cluster_of(2, node={"token": "secret"}) as (first, _):

        def plain(password):
            def authenticate(socket):
                socket.plain_username, socket.plain_password = b"proxy", password

            return authenticate

        assert not await hears(first, lambda socket: None)
        assert not await hears(first, plain(b"secret"))
        assert await hears(first, Guard(None, "secret").to_peers_port)


async def test_via_needs_what_a_hello_needs():
    async with cluster_of(2, node={"token": "secret"}) as (far, near):
        for token, refusal in (("", frames.NO_TOKEN), ("wrong", frames.WRONG_TOKEN), ("secret", None)):
            with ScriptedNode(near.node, token="secret") as node:
                node.say_raw(encode_batch(0, [Via(id_of(far), token)]))
                node.say(node.hello)
                if refusal is None:
                    await node.take(frames.Welcome)
                else:
                    refused = await node.take(frames.Refused)
                    assert (refused.reason, refused.fatal) == (refusal, True)
                    assert near.app.runner.tunnels == 0


def test_whom_the_door_can_not_end_is_heard_again():
    context = zmq.Context()
    watched = context.socket(zmq.ROUTER)
    callers = Callers(watched, lambda identity: False, door.MAX_STRANGERS)
    try:
        callers.refuse(b"a peer", 99, 0.0)  # the door holds no such connection
        assert not callers.is_refused(b"a peer", 99)
    finally:
        callers.door.close()
        watched.close(linger=0)
        context.term()
