"""SIGTERM: not ready, no new connections, requests finish, clients are told 1012, nodes too; a second one stops."""

import os
import signal

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from holdfast.protocols.nodes import frames
from holdfast.proxy.app import App, Phase
from tests.harness import Proxy as RunningProxy
from tests.harness import ScriptedNode, configure, websocket
from tests.waiting import PATIENCE


class Serving:
    """An App whose `run` the test lets end by itself."""

    def __init__(self, **sections):
        self.app = App(configure(**sections))
        self.ended = trio.Event()

    async def start(self, nursery):
        bound = []
        ready = trio.Event()

        def on_ready(where):
            bound.append(where)
            ready.set()

        async def run():
            await self.app.run(on_ready)
            self.ended.set()

        nursery.start_soon(run)
        await ready.wait()
        return RunningProxy(self.app, bound[0])

    async def wait_ended(self):
        with trio.fail_after(PATIENCE):
            await self.ended.wait()


async def test_drain_lets_requests_finish_and_closes_clients_with_1012():
    serving = Serving(drain={"timeout": 5.0, "spread": 0.1})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await client.send("last question")
                request = await node.take(frames.Request)
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
                assert serving.app.control.ready() == (False, "draining")
                with pytest.raises(OSError, match=r"."):
                    await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
                await node.reply(request)
                assert await client.recv() == "last question"
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd.code == 1012
            assert isinstance(await node.take(frames.Bye), frames.Bye)
            await serving.wait_ended()


async def test_closing_is_spread_over_time():
    serving = Serving(drain={"timeout": 5.0, "spread": 0.5})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        times = []

        async def stay(*, task_status):
            async with websocket(proxy) as client:
                task_status.started()
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                times.append(trio.current_time())

        for _ in range(20):
            await nursery.start(stay)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving.wait_ended()
        assert len(times) == 20
        assert max(times) - min(times) > 0.2


async def test_http_in_flight_gets_its_reply_and_connection_close():
    import httpx

    serving = Serving(drain={"timeout": 5.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            answers = []

            async def ask():
                async with httpx.AsyncClient() as http:
                    answers.append(await http.get(f"http://{proxy.client}/"))

            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                request = await node.take(frames.HttpRequest)
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
                node.say(frames.HttpReply(request.id, 1, b"done"))
            assert answers[0].text == "done"
            await serving.wait_ended()


async def test_clients_that_do_not_answer_cannot_hold_it_up():
    from tests.proxy.realtime.test_realtime import handshake

    serving = Serving(drain={"timeout": 0.5, "spread": 0.0}, client={"close_timeout": 30.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with handshake(proxy):
            await proxy.until(lambda: len(serving.app.registry) == 1)
            os.kill(os.getpid(), signal.SIGTERM)
            await serving.wait_ended()


async def test_second_signal_stops_at_once():
    serving = Serving(drain={"timeout": 60.0, "spread": 60.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        async with websocket(proxy) as client, websocket(proxy):
            os.kill(os.getpid(), signal.SIGTERM)
            await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
            os.kill(os.getpid(), signal.SIGTERM)
            await serving.wait_ended()
            with pytest.raises(ConnectionClosed):
                await client.recv()


async def test_a_node_that_comes_while_the_proxy_leaves_is_told_to_go():
    serving = Serving(drain={"timeout": 5.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        serving.app.gateway.leave()
        with ScriptedNode(proxy.node) as node:
            node.say(node.hello)
            refused = await node.take(frames.Refused)
            assert not refused.fatal
        os.kill(os.getpid(), signal.SIGTERM)
        await serving.wait_ended()
