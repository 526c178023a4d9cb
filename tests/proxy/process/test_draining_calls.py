"""A proxy that stops, and what nodes are asked besides requests: who waits to come in, and that clients have gone."""

import os
import signal

import httpx
import trio

from holdfast.protocols.nodes import frames
from holdfast.proxy.app import Phase
from holdfast.proxy.process import draining
from tests.harness import ScriptedNode, websocket
from tests.proxy.nodes.knocking import ADA, admit, asked_for, knocking
from tests.proxy.process.test_draining import Serving
from tests.waiting import PATIENCE


async def test_who_waits_is_let_in_as_requests_are_answered_or_told_to_come_back():
    """One has its answer while requests are waited for, and is a client that is closed; another one has none."""
    serving = Serving(drain={"timeout": 2.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as one, knocking(proxy) as other:
                calls = [await node.take(frames.Call) for _ in range(2)]
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
                await admit(node, ADA, calls[0])
                said = b""
                while b"\x03\xf4" not in said:  # 1012
                    said = await first_to_speak(one, other)
                assert said.startswith(b"HTTP/1.1 101 ")
                late = other if one.came else one
                assert (await late.to_the_end()).startswith(b"HTTP/1.1 503 ")
                assert await node.take(frames.Cancel) == frames.Cancel(calls[1].id, 1)
                assert await node.take(frames.Bye)
        await serving.wait_ended()
        nursery.cancel_scope.cancel()


async def first_to_speak(*peers):
    """What one has been told, as soon as any is."""
    told = []
    async with trio.open_nursery() as nursery:

        async def listen(peer):
            peer.came += await peer.stream.receive_some()
            told.append(peer.came)
            nursery.cancel_scope.cancel()

        for peer in peers:
            nursery.start_soon(listen, peer)
    return told[0]


async def test_one_node_is_told_of_clients_that_have_gone_so_before_the_proxy_goes(monkeypatch):
    monkeypatch.setattr(draining, "LAST_CALLS", PATIENCE)
    serving = Serving(drain={"timeout": 60.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node, takes=["close"]) as node:
            await node.join()
            async with websocket(proxy), websocket(proxy):
                os.kill(os.getpid(), signal.SIGTERM)
                calls = [await node.take(frames.Call) for _ in range(2)]
                assert {(call.kind, call.payload) for call in calls} == {("close", b"draining")}
                await proxy.until(lambda: not serving.app.clients.connections)
                for _ in range(200):  # it would have left by then
                    node.say(frames.Heartbeat(1.0))
                    await node.take(frames.Heartbeat)
                assert not any(isinstance(frame, frames.Bye) for frame in node.frames)
                for call in calls:
                    node.say(frames.Reply(call.id, call.attempt, b"", False))
                await node.take(frames.Bye)
        await serving.wait_ended()
        assert not serving.app.counters.once_given_up
        nursery.cancel_scope.cancel()


async def test_a_node_that_does_not_answer_holds_the_proxy_up_only_for_so_long(monkeypatch, capsys):
    monkeypatch.setattr(draining, "LAST_CALLS", 0.3)
    serving = Serving(drain={"timeout": 1.0, "spread": 0.0}, log={"level": "warning"})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node, takes=["open", "close"]) as node:
            await node.join()
            async with websocket(proxy):
                await node.take(frames.Call)  # that it came, which waits for an answer, and with it that it goes
                os.kill(os.getpid(), signal.SIGTERM)
                await node.take(frames.Bye)
        await serving.wait_ended()
        nursery.cancel_scope.cancel()
    assert "once_untold" in capsys.readouterr().out


async def test_what_is_called_off_when_the_time_is_over_is_told_once_more():
    """Requests have no more time; that a client has gone has its own."""
    serving = Serving(drain={"timeout": 0.5, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with asked_for(proxy) as doorman, ScriptedNode(proxy.node, takes=["close"]) as node:
            await doorman.join()
            await node.join()
            async with knocking(proxy) as peer:  # who does not answer the closing handshake
                await admit(doorman)
                await peer.until(b" 101 ")
                os.kill(os.getpid(), signal.SIGTERM)
                call = await node.take(frames.Call)
                assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
                again = await node.take(frames.Call)
                assert (again.kind, again.client, again.before) == ("close", call.client, 1)
                node.say(frames.Reply(again.id, again.attempt, b"", False))
                await node.take(frames.Bye)
        await serving.wait_ended()
        assert not len(serving.app.calls.once)
        nursery.cancel_scope.cancel()


async def test_nobody_waits_where_there_is_no_node_to_be_told():
    serving = Serving(drain={"timeout": 60.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node, takes=["close"]) as node:
            await node.join()
        await proxy.until(lambda: not serving.app.directory.nodes)
        async with websocket(proxy):
            os.kill(os.getpid(), signal.SIGTERM)
            await proxy.until(lambda: len(serving.app.calls.once) == 1)
        with trio.fail_after(draining.LAST_CALLS - 1.0):
            await serving.ended.wait()
        nursery.cancel_scope.cancel()


async def test_what_is_published_while_it_leaves_is_answered():
    """Or whoever waits for the answer would do it again, at another proxy or the next one here."""
    serving = Serving(drain={"timeout": 60.0, "spread": 0.0})
    async with trio.open_nursery() as nursery, httpx.AsyncClient() as http:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node, takes=["publish"]) as node:
            await node.join()
            async with websocket(proxy) as client, trio.open_nursery() as publishing:
                await client.send("hello")
                request = await node.take(frames.Request)
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
                answers = []

                async def publish():
                    url = f"http://{proxy.admin}/api/publish"
                    answers.append((await http.post(url, json={"everybody": True, "payload": 1})).status_code)

                publishing.start_soon(publish)
                call = await node.take(frames.Call)
                node.say(frames.Reply(request.id, request.attempt, b"", False))  # the last client is answered, and goes
                await proxy.until(lambda: not serving.app.clients.connections)
                for _ in range(200):  # it would have left by then
                    node.say(frames.Heartbeat(1.0))
                    await node.take(frames.Heartbeat)
                assert not any(isinstance(frame, frames.Bye) for frame in node.frames)
                node.say(frames.Reply(call.id, call.attempt, b"", False))
            assert answers == [200]
            await node.take(frames.Bye)
        await serving.wait_ended()
        nursery.cancel_scope.cancel()
