"""Sessions of nodes: who is taken, who is refused, how they end, and that nothing of an ended one counts."""

import os
from contextlib import asynccontextmanager

import pytest
import structlog
import trio
import zmq
import zmq.auth

from holdfast import Node
from holdfast.balancer.directory import NodeState
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from holdfast.proxy.admin import control
from holdfast.proxy.ticker import INTERVAL
from tests.harness import ScriptedNode, client_ids, running, websocket


def states(proxy):
    return [node.state for node in proxy.app.directory]


async def test_states_on_the_way_in_and_out():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            node.say(node.hello)
            welcome = await node.take(frames.Welcome)
            assert (welcome.version, welcome.heartbeat_interval, welcome.clients_sequence) == (1, 0.5, 0)
            assert states(proxy) == [NodeState.SYNCING]
            assert (await node.take(frames.Clients)).last
            assert (await node.take(frames.State)).last
            node.say(frames.Ready())
            await proxy.until(lambda: states(proxy) == [NodeState.READY])
            node.say(frames.Drain())
            await proxy.until(lambda: states(proxy) == [NodeState.DRAINING])
            node.say(frames.Bye())
            await proxy.until(lambda: states(proxy) == [])


async def test_sessions_are_numbered():
    """So a node tells a welcome that the network held up from a later one."""
    async with running() as proxy:
        for number in (1, 2, 3):
            with ScriptedNode(proxy.node, "node") as node:
                node.say(node.hello)
                assert (await node.take(frames.Welcome)).session == number


async def test_a_killed_node_is_noticed_at_once_and_not_by_silence():
    async with running(node={"heartbeat_timeout": 60.0}) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.close()
            await proxy.until(lambda: states(proxy) == [])


async def test_a_silent_node_is_lost_and_what_it_says_later_is_refused():
    async with running(node={"heartbeat_interval": 0.05, "heartbeat_timeout": 2.0}) as proxy:
        async with websocket(proxy) as client:
            with ScriptedNode(proxy.node, "frozen") as frozen, ScriptedNode(proxy.node, "other") as other:
                await frozen.join()
                await client.send("question")
                request = await frozen.take(frames.Request)
                await proxy.until(lambda: not len(proxy.app.directory), "it to be lost")
                await other.join()
                again = await other.take(frames.Request)
                assert again.attempt == 2
                # it wakes up: its reply, effects and plain notifications are all of a session that is over
                frozen.say(
                    frames.Reply(request.id, 1, b"old", True, False, [frames.Join(request.client, "old")]),
                    frames.Effects(1, [frames.Notify(b"old", True, [], frames.pack_ids([request.client]))]),
                    frames.Effects(2, [frames.Join(request.client, "old")]),
                )
                while "no such session" not in (await frozen.take(frames.Refused)).reason:
                    pass  # the first one told it, while it slept, that it had been silent
                await other.reply(again, b"new")
                assert await client.recv() == "new"
                assert proxy.app.channels.count("old") == 0


async def test_handshake_that_is_not_finished():
    async with running(node={"handshake_timeout": 0.2}) as proxy:
        with ScriptedNode(proxy.node) as node:
            node.say(node.hello)
            assert "not ready in time" in (await node.take(frames.Refused)).reason


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"version": 2}, "version"),
        ({"token": "wrong"}, "wrong token"),
        ({"token": ""}, "a token is wanted"),
        ({"node": ""}, "1 to 256 bytes"),
        ({"node": "x" * 300}, "1 to 256 bytes"),
        ({"name": ""}, "1 to 256 bytes"),
        ({"name": "two\nlines"}, "no control characters"),
        ({"node": "\x1b[31mred"}, "no control characters"),
        ({"labels": {"": "x"}}, "label"),
        ({"labels": {"rack": "r" * 257}}, "label"),
        ({"labels": {str(number): "" for number in range(65)}}, "at most 64 labels"),
        ({"labels": {str(number): "x" * 200 for number in range(21)}}, "labels of a node have at most 4096 bytes"),
        ({"capacity": 0}, "capacity"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": 5e-324}, "weight must be 0.001 to 1000"),
        ({"weight": 1000.1}, "weight must be 0.001 to 1000"),
        ({"epoch": 2**63}, "little more"),
        ({"epoch": 2**53 - 1}, "little more"),
        ({"epoch": -1}, "little more"),
        ({"state_epoch": 1, "state_index": 2**53 - 1}, "little more"),
        ({"state_epoch": 1, "state_index": -1}, "little more"),
        ({"state_epoch": -1}, "little more"),
    ],
)
async def test_hello_that_is_refused_for_good(hello, reason):
    fields = {"version": 1, "node": "n", "name": "n", "incarnation": 1, "capacity": 1, "token": "secret"}
    async with running(node={"token": "secret"}) as proxy:
        with ScriptedNode(proxy.node) as node:
            node.say(frames.Hello(**(fields | hello)))
            refused = await node.take(frames.Refused)
            assert refused.fatal
            assert reason in refused.reason
            assert len(proxy.app.directory) == 0


async def test_right_token():
    async with running(node={"token": "secret"}) as proxy:
        with ScriptedNode(proxy.node, token="secret") as node:
            await node.join()


async def test_too_many_nodes():
    async with running(node={"max_nodes": 1}) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            two.say(two.hello)
            refused = await two.take(frames.Refused)
            assert "too many nodes" in refused.reason
            assert not refused.fatal


GARBAGE = {
    "noise": b"\xc1\xff\x00garbage",
    "empty array": b"\x90",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "a wrong type": encode_batch(1, [[99, 1, 2]]),
    "a lie about a length": b"\x92\x01\xdd\xff\xff\xff\xff",
    "deep nesting": b"\x92\x01" + b"\x91" * 5000,
    "fields of a wrong kind": b"\x92\x02\x91\x93\x1e\xa1x\xa1y",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_instead_of_hello_is_refused_and_disturbs_nobody(garbage):
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as good, ScriptedNode(proxy.node) as bad:
            await good.join()
            bad.say_raw(garbage)
            await bad.take(frames.Refused)
            await client.send("still here")
            await good.reply()
            assert await client.recv() == "still here"


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_within_a_session_ends_it_and_saves_its_requests(garbage):
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as bad, ScriptedNode(proxy.node) as good:
            await bad.join()
            await client.send("question")
            await bad.take(frames.Request)
            await good.join()
            bad.say_raw(garbage)
            await bad.take(frames.Refused)
            await good.reply()
            assert await client.recv() == "question"


@pytest.mark.parametrize("number", [0, 1, 2, 4, 2**40])
async def test_wrong_batch_number_ends_the_session(number):
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()  # batches 1 and 2
            node.say_raw(encode_batch(number, [frames.Heartbeat(1.0)]))
            assert "expected batch 3" in (await node.take(frames.Refused)).reason
            assert len(proxy.app.directory) == 0


async def test_message_of_several_parts_is_refused():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.say_raw(b"one", b"two", b"three")
            await node.take(frames.Refused)


async def test_message_beyond_the_limit_ends_the_connection():
    async with running(node={"max_frame_bytes": 1000}) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.say_raw(b"x" * 2000)
            await proxy.until(lambda: len(proxy.app.directory) == 0)


async def test_bytes_that_are_not_zeromq_disturb_nobody():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            host, _, port = proxy.node.removeprefix("tcp://").rpartition(":")
            for junk in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"\xff" + b"\x00" * 8 + b"\x7f"):
                async with await trio.open_tcp_stream(host, int(port)) as stream:
                    await stream.send_all(junk)
            await client.send("fine")
            await node.reply()
            assert await client.recv() == "fine"


async def test_hello_and_ready_out_of_place():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.say(node.hello)
            assert "Hello came within a session" in (await node.take(frames.Refused)).reason
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.say(frames.Ready())
            assert "Ready came" in (await node.take(frames.Refused)).reason


async def test_packed_ids_of_a_wrong_length():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.do(frames.Notify(b"x", True, [], b"123"))
            assert "multiple of 8" in (await node.take(frames.Refused)).reason


async def test_another_process_with_the_same_id_supersedes_and_the_first_is_told_for_good():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, node="same") as first, ScriptedNode(proxy.node, node="same") as second:
            await first.join()
            await client.send("question")
            await first.take(frames.Request)
            second.say(second.hello)
            refused = await first.take(frames.Refused)
            assert refused.fatal
            await second.finish_join()
            await second.reply()
            assert await client.recv() == "question"


async def test_a_new_session_of_the_same_process_supersedes_quietly():
    async with running() as proxy:
        with ScriptedNode(proxy.node, node="same", incarnation=7) as first:
            await first.join()
            with ScriptedNode(proxy.node, node="same", incarnation=7) as second:
                await second.join()
                assert [node.state for node in proxy.app.directory] == [NodeState.READY]
                first.say(frames.Heartbeat(1.0))
                assert not (await first.take(frames.Refused)).fatal


async def test_draining_node_finishes_what_it_has_and_gets_nothing_new():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as old, ScriptedNode(proxy.node) as new:
            await old.join()
            await client.send("1")
            request = await old.take(frames.Request)
            await new.join()
            old.say(frames.Drain())
            await proxy.until(lambda: NodeState.DRAINING in states(proxy))
            for number in "23":
                await client.send(number)
                assert (await new.reply()).payload == number.encode()
                assert await client.recv() == number
            await old.reply(request)
            assert await client.recv() == "1"


@asynccontextmanager
async def drained(proxy, node):
    """An operator drains this node within the block; what he is told is in the list after it."""
    told = []

    async def drain():
        told.append(await proxy.app.control.drain_node(node.id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await proxy.until(lambda: states(proxy) == [NodeState.DRAINING])
        yield told


async def is_told(node, **options):
    """Whether the answer to its next heartbeat says that it is drained."""
    node.inbox.clear()
    node.say(frames.Heartbeat(2.0, **options))
    return (await node.take(frames.Heartbeat)).is_drained


async def test_operator_drains_a_node_and_is_answered_when_it_says_that_it_knows():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node, structlog.testing.capture_logs() as lines:
            await node.join()
            assert not await is_told(node)
            assert await proxy.app.control.drain_node("nobody") is False
            async with drained(proxy, node) as told:
                assert await is_told(node)
                assert told == []
                assert await is_told(node, is_drained=True)
            assert told == [True]
            assert await proxy.app.control.drain_node(node.id) is True, "it is known already"
    assert [(line["node"], line["by"]) for line in lines if line["event"] == "node_draining"] == [(node.id, "operator")]


async def test_operator_drains_a_node_that_is_not_ready_yet():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            node.say(node.hello)
            await node.take(frames.Welcome)
            async with drained(proxy, node) as told:
                await node.finish_join()
                assert states(proxy) == [NodeState.DRAINING]
                node.say(frames.Heartbeat(1.0, is_drained=True))
            assert told == [True]


async def test_operator_is_told_that_a_node_has_gone_before_it_knew(monkeypatch):
    monkeypatch.setattr(control, "DRAIN_PATIENCE", 1000.0)
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with drained(proxy, node) as told:
                assert await is_told(node)
                node.close()
            assert told == [None]


async def test_operator_is_told_that_a_node_does_not_say_that_it_knows(monkeypatch):
    """One of an older version: it is drained here, for as long as its session lasts."""
    monkeypatch.setattr(control, "DRAIN_PATIENCE", 0.0)
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            assert await proxy.app.control.drain_node(node.id) is None
            assert await is_told(node)
            assert states(proxy) == [NodeState.DRAINING]


@pytest.mark.parametrize("keeps_ready", [True, False])
async def test_what_is_drained_stays_so_in_the_next_session_and_at_another_proxy(keeps_ready):
    """From its hello on: nothing comes to it, and it is nobody's master, whether it says Ready as others do or not."""
    async with running(election={"lease": 0.1}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, is_drained=True) as node, ScriptedNode(proxy.node) as other:
            node.say(node.hello)
            await node.take(frames.Welcome)
            assert states(proxy) == [NodeState.DRAINING]
            if keeps_ready:
                await node.finish_join()
            assert states(proxy) == [NodeState.DRAINING]
            await other.join()
            await proxy.until(lambda: proxy.app.steward.master[0] == other.id, "the other to be master")
            await client.send("hello")
            await other.reply()
            assert await client.recv() == "hello"
            assert await proxy.app.control.drain_node(node.id) is True
            assert not any(isinstance(frame, frames.Request) for frame in node.frames)


async def test_whoever_says_in_a_heartbeat_that_it_is_drained_is_so():
    """An operator has said so at another proxy."""
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node, structlog.testing.capture_logs() as lines:
            await node.join()
            node.say(frames.Heartbeat(1.0, is_drained=True))
            await proxy.until(lambda: states(proxy) == [NodeState.DRAINING])
    assert [(line["node"], line["by"]) for line in lines if line["event"] == "node_draining"] == [(node.id, "node")]


async def test_every_node_knows_every_client_without_a_gap():
    async with running(node={"registry_page": 2}) as proxy:
        async with websocket(proxy, "/one"), websocket(proxy, "/two"), websocket(proxy, "/three"):
            with ScriptedNode(proxy.node) as node:
                await node.join()
                pages = [frame for frame in node.frames if isinstance(frame, frames.Clients)]
                known = {client.id: client for page in pages for client in page.clients}
                assert [len(page.clients) for page in pages] == [2, 1]
                assert {client.path for client in known.values()} == {"/one", "/two", "/three"}
                assert set(known) == set(client_ids(proxy))
                welcome = next(frame for frame in node.frames if isinstance(frame, frames.Welcome))
                async with websocket(proxy, "/four", additional_headers={"x-user": "anna"}):
                    changes = await node.take(frames.Changes)
                    [opened] = changes.changes
                    assert changes.sequence == welcome.clients_sequence + 1
                    assert ["x-user", "anna"] in [list(pair) for pair in opened.client.headers]
                changes = await node.take(frames.Changes)
                assert changes.sequence == welcome.clients_sequence + 2
                assert changes.changes == [frames.Closed(opened.client.id, "client_left")]


async def test_proxy_that_was_away_blames_nobody():
    async with running(node={"heartbeat_timeout": 10.0}) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            now = trio.current_time() + 50.0
            proxy.app.ticker.tick(now)  # as after SIGSTOP and SIGCONT of the proxy itself
            proxy.app.ticker.tick(now + INTERVAL)  # and what has come meanwhile is not read yet
            assert len(proxy.app.directory) == 1


async def test_a_reply_that_waits_unread_while_the_proxy_is_away_comes_in_time():
    async with running(balance={"ejection_failures": 1}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("hello")
            request = await node.take(frames.Request)
            ticker = proxy.app.ticker
            ticker.tick(trio.current_time() + 11.0)  # its reply is in our socket, for all we know
            await node.reply(request)
            assert await client.recv() == "hello"
            assert not proxy.app.directory.nodes[node.id].ejected


async def test_who_had_a_late_request_last_is_not_blamed_for_the_time_before():
    settings = {"ejection_failures": 1, "ejection_max_share": 1.0}
    async with running(balance=settings, request={"timeout": 2.0}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as first, ScriptedNode(proxy.node) as second, ScriptedNode(proxy.node) as other:
            await first.join()
            await client.send("hello")
            await first.take(frames.Request)
            await second.join()
            now = trio.current_time()
            proxy.app.reactor.now = now + 1.5
            [entry] = proxy.app.ledger.lose(proxy.app.directory.nodes[first.id])
            proxy.app.ledger.assign(entry, proxy.app.directory.nodes[second.id], now + 1.5)
            await other.join()
            proxy.app.dispatch.expire(now + 2.2)
            assert "deadline_exceeded" in await client.recv()
            assert not proxy.app.directory.nodes[second.id].ejected


async def test_who_was_only_offered_a_late_request_is_not_blamed():
    """It has never had it. Whether it lives is for its heartbeats to say."""
    settings = {"ejection_failures": 1, "ejection_max_share": 1.0}
    async with running(balance=settings, request={"timeout": 60.0}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as first, ScriptedNode(proxy.node, takes_offers=True) as second:
            await first.join()
            await client.send("hello")
            await first.take(frames.Request)
            await second.join()
            first.close()
            await second.take(frames.Offer)
            with ScriptedNode(proxy.node) as other:
                await other.join()
                proxy.app.dispatch.expire(trio.current_time() + 61.0)
                assert "deadline_exceeded" in await client.recv()
                assert not proxy.app.directory.nodes[second.id].ejected


async def test_curve_lets_in_only_authorized_keys(tmp_path):
    proxy_public, proxy_secret = zmq.auth.create_certificates(tmp_path, "proxy")
    authorized = tmp_path / "authorized"
    authorized.mkdir()
    node_public, node_secret = zmq.auth.create_certificates(tmp_path, "node")
    os.link(node_public, authorized / "node.key")
    _, stranger = zmq.auth.create_certificates(tmp_path, "stranger")
    server_key = zmq.auth.load_certificate(proxy_public)[0]
    settings = {"curve_secret_key_file": proxy_secret, "curve_authorized_keys": str(authorized)}
    async with running(node=settings) as proxy:

        def dial(certificate):
            public, secret = zmq.auth.load_certificate(certificate) if certificate else (None, None)
            return ScriptedNode(proxy.node, curve=(public, secret, server_key))

        with dial(node_secret) as friend:
            await friend.join()
            with dial(stranger) as enemy, dial(None) as plain:
                for intruder in (enemy, plain):
                    try:
                        intruder.say(intruder.hello)
                    except zmq.Again:
                        pass
                friend.say(frames.Heartbeat(1.0))
                await friend.take(frames.Heartbeat)
                assert [node.id for node in proxy.app.directory] == [friend.id]


async def test_an_on_open_that_sets_state_does_not_hold_up_its_node(monkeypatch):
    monkeypatch.setattr("holdfast.node.session.CALLBACKS_TIMEOUT", 1000.0)
    node = Node("test")

    @node.on_open
    async def opened(client):
        await node.state.set(f"client {client.id}", 1)

    async with running() as proxy, websocket(proxy), trio.open_nursery() as nursery:
        await nursery.start(node.run, [proxy.node])
        assert len(node.state) == 1
        nursery.cancel_scope.cancel()
