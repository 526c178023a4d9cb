"""Centrifuge's protocol at a port of its own, through real sockets: who comes in, what goes to nodes, new tokens."""

import json
import time
from contextlib import asynccontextmanager

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import CONNECT, Admitted, encode_admitted
from tests.harness import ScriptedNode, client_ids, running
from tests.proxy.signing import SECRET, sign
from tests.waiting import PATIENCE

PORT = ("centrifuge://127.0.0.1:0",)


def serving(**client):
    return running(client={"protocols": PORT, **client})


class Client:
    """Commands and replies, one message each; a message of several lines is as many replies."""

    def __init__(self, socket):
        self.socket = socket
        self._id = 0
        self._said = []

    async def say(self, *commands):
        await self.socket.send("\n".join(map(json.dumps, commands)))

    async def hear(self):
        while not self._said:
            with trio.fail_after(PATIENCE):
                self._said = [json.loads(line) for line in (await self.socket.recv()).split("\n")]
        return self._said.pop(0)

    async def ask(self, **command):
        self._id += 1
        await self.say({"id": self._id} | command)
        return await self.hear()

    async def closed(self):
        """With which code, and text."""
        with trio.fail_after(PATIENCE):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code, closed.rcvd.reason


@asynccontextmanager
async def client(proxy, **options):
    options = {"compression": None, "ping_interval": None} | options
    async with connect(f"ws://{proxy.app.listening[1]}/connection/websocket?v=2", **options) as socket:
        yield Client(socket)


def expires_in(seconds, **claims):
    return sign({"sub": "ada", "exp": time.time() + seconds, **claims})


def session(proxy):
    [session] = proxy.app.clients.all_sessions()
    return session


# --- requests -----------------------------------------------------------------------------------------------------


async def test_a_client_connects_and_asks():
    async with serving() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with client(proxy) as ada:
                told = await ada.ask(connect={"data": {"a": 1}, "name": "js"})
                [id] = client_ids(proxy)
                assert told == {
                    "id": 1,
                    "connect": {"client": f"{id:016x}", "version": "holdfast", "ping": 25, "pong": True},
                }
                opened = (await node.take(frames.Changes)).changes[0].client
                assert (opened.id, opened.protocol, opened.path, opened.query) == (
                    id, "centrifuge", "/connection/websocket", "v=2",
                )  # fmt: skip
                assert ("centrifuge-data", '{"a": 1}') in opened.headers
                await ada.say({"id": 7, "rpc": {"method": "m", "data": [1]}})
                request = await node.take(frames.Request)
                assert (json.loads(request.payload), request.is_text) == ({"method": "m", "data": [1]}, True)
                await node.reply(request, b'{"ok":true}')
                assert await ada.hear() == {"id": 7, "rpc": {"data": {"ok": True}}}


async def test_an_answer_of_the_application_in_its_own_status_and_what_needs_none():
    async with serving() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with client(proxy) as ada:
                await ada.ask(connect={})
                await ada.say({"send": {"data": {"type": "move"}}}, {"id": 3, "rpc": {"method": "m"}})
                sent, asked = await node.take(frames.Request), await node.take(frames.Request)
                assert sent.payload == b'{"type": "move"}'
                await node.reply(sent, b"1")
                node.say(frames.Failure(asked.id, 1, 404, "no such thing"))
                assert await ada.hear() == {"id": 3, "error": {"code": 404, "message": "no such thing"}}


async def test_a_notification_is_a_message_of_no_channel():
    async with serving() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with client(proxy) as ada:
                await ada.ask(connect={})
                [id] = client_ids(proxy)
                node.do(frames.Notify(b'{"n":1}', True, [], frames.pack_ids([id])))
                assert await ada.hear() == {"push": {"message": {"data": {"n": 1}}}}


async def test_a_channel_that_is_nobody_s_to_subscribe_to():
    async with serving() as proxy:
        async with client(proxy) as ada:
            await ada.ask(connect={})
            assert (await ada.ask(subscribe={"channel": "c"}))["error"]["code"] == 103
            assert (await ada.ask(publish={"channel": "c", "data": 1}))["error"]["code"] == 103
            assert await ada.ask(unsubscribe={"channel": "c"}) == {"id": 4, "unsubscribe": {}}


# --- who comes in -------------------------------------------------------------------------------------------------


async def test_the_token_of_connect_says_who_it_is_and_when_that_ends():
    async with serving(jwt_keys=SECRET, jwt_leeway=0.0) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with client(proxy) as ada:
                told = await ada.ask(connect={"token": expires_in(600)})
                assert told["connect"]["expires"]
                assert 585 < told["connect"]["ttl"] <= 590
                assert (await node.take(frames.Changes)).changes[0].client.user == "ada"


@pytest.mark.parametrize(
    ("token", "code", "closed"),
    [("garbage", 101, 3500), ("", 101, 3500), (sign({"sub": "ada", "exp": 1}), 109, 3005)],
)
async def test_who_has_no_good_token_is_told_so_and_closed(token, code, closed):
    async with serving(jwt_keys=SECRET) as proxy:
        async with client(proxy) as ada:
            told = await ada.ask(connect={"token": token})
            assert told["error"]["code"] == code
            assert (await ada.closed())[0] == closed
        await proxy.until(lambda: not proxy.app.clients.connections)
        assert len(proxy.app.registry) == 0


async def test_a_node_says_who_comes_in_and_in_which_channels_it_is():
    async with serving() as proxy:
        with ScriptedNode(proxy.node, takes=[CONNECT]) as node:
            await node.join()
            async with client(proxy) as ada:
                await ada.say(
                    {"id": 1, "connect": {"data": {"secret": 1}}},
                    {"id": 2, "rpc": {"method": "early"}},
                )
                call = await node.take(frames.Call)
                assert ("centrifuge-data", '{"secret": 1}') in frames.decode_client(call.info).headers
                admitted = encode_admitted(Admitted("ada", b"", ["news", "room"], 60.0))
                node.say(frames.Reply(call.id, 1, admitted, False))
                told = (await ada.hear())["connect"]
                assert told["subs"] == {"news": {}, "room": {}}
                assert "expires" not in told  # no token of the client's puts off what a node has said
                request = await node.take(frames.Request)
                assert json.loads(request.payload) == {"method": "early", "data": None}
                await node.reply(request, b"1")
                assert await ada.hear() == {"id": 2, "rpc": {"data": 1}}


@pytest.mark.parametrize(
    ("failure", "error", "code"),
    [
        ((403, "not you"), {"code": 403, "message": "not you"}, 3507),
        ((402, "pay"), {"code": 402, "message": "pay"}, 3507),
        ((403, "go away", 4500), None, 4500),
    ],
)
async def test_whom_a_node_refuses_is_told_so_or_closed_with_the_code_of_the_node(failure, error, code):
    async with serving() as proxy:
        with ScriptedNode(proxy.node, takes=[CONNECT]) as node:
            await node.join()
            async with client(proxy) as ada:
                await ada.say({"id": 1, "connect": {}}, {"id": 2, "rpc": {}}, {"id": 3, "refresh": {"token": "t"}})
                call = await node.take(frames.Call)
                node.say(frames.Failure(call.id, 1, *failure))
                if error is None:
                    assert (await ada.hear())["id"] == 2  # what waited has the same answer
                else:
                    assert await ada.hear() == {"id": 1, "error": error}
                assert (await ada.closed())[0] == code


# --- new tokens ---------------------------------------------------------------------------------------------------


async def test_a_new_token_puts_off_the_end_of_the_session():
    async with serving(jwt_keys=SECRET, jwt_leeway=0.0) as proxy:
        async with client(proxy) as ada:
            await ada.ask(connect={"token": expires_in(600)})
            before = session(proxy).expires
            told = await ada.ask(refresh={"token": expires_in(900)})
            assert told["refresh"]["expires"]
            assert 885 < told["refresh"]["ttl"] <= 890
            assert 295 < session(proxy).expires - before < 305
            assert await ada.ask(refresh={"token": sign({"sub": "ada"})}) == {"id": 3, "refresh": {}}
            assert session(proxy).expires == float("inf")
            assert proxy.counters.tokens == {"verified": 3}


@pytest.mark.parametrize(
    ("token", "code", "outcome"),
    [
        ("garbage", 101, "refused"),
        (sign({"sub": "bob"}), 101, "refused"),
        (sign({"sub": "ada", "exp": 1}), 109, "expired"),
    ],
)
async def test_a_token_that_is_not_good_changes_nothing(token, code, outcome):
    async with serving(jwt_keys=SECRET) as proxy:
        async with client(proxy) as ada:
            await ada.ask(connect={"token": expires_in(600)})
            before = session(proxy).expires
            assert (await ada.ask(refresh={"token": token}))["error"]["code"] == code
            assert session(proxy).expires == before
            assert await ada.ask(ping={}) == {"id": 3, "ping": {}}
            assert proxy.counters.tokens == {"verified": 1, outcome: 1}


async def test_a_session_that_is_not_renewed_is_closed_so_that_a_new_token_is_brought():
    async with serving(jwt_keys=SECRET, jwt_leeway=0.0) as proxy:
        async with client(proxy) as ada:
            await ada.ask(connect={"token": expires_in(0.5)})
            assert (await ada.closed())[0] == 3005


async def test_what_a_node_said_of_the_end_holds_whatever_token_comes():
    async with serving(jwt_keys=SECRET, jwt_leeway=0.0) as proxy:
        with ScriptedNode(proxy.node, takes=[CONNECT]) as node:
            await node.join()
            async with client(proxy) as ada:
                await ada.say({"id": 1, "connect": {"token": expires_in(100)}})
                call = await node.take(frames.Call)
                node.say(frames.Reply(call.id, 1, encode_admitted(Admitted("", b"", [], 300.0)), False))
                assert (await ada.hear())["connect"]["expires"]
                limit = session(proxy).until
                assert (await ada.ask(refresh={"token": expires_in(200)}))["refresh"]["expires"]
                assert session(proxy).expires < limit
                assert (await ada.ask(refresh={"token": expires_in(900)}))["refresh"] == {}
                assert session(proxy).expires == limit


async def test_without_keys_there_is_nothing_to_refresh():
    async with serving() as proxy:
        async with client(proxy) as ada:
            await ada.ask(connect={})
            assert (await ada.ask(refresh={"token": "t"}))["error"]["code"] == 108


# --- the end ------------------------------------------------------------------------------------------------------


async def test_who_breaks_the_protocol_and_whom_a_node_closes():
    async with serving() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with client(proxy) as ada:
                await ada.ask(connect={})
                await ada.socket.send("nonsense")
                assert (await ada.closed())[0] == 3501
            for code, expected in ((0, 3503), (4200, 4200)):
                async with client(proxy) as ada:
                    await ada.ask(connect={})
                    await proxy.until(lambda: len(client_ids(proxy)) == 1)
                    node.do(frames.CloseClient(client_ids(proxy)[0], "bye", code))
                    assert await ada.closed() == (expected, "bye")
                await proxy.until(lambda: not proxy.app.clients.connections)


async def test_http_is_taken_at_the_same_port():
    async with serving() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            host, _, port = proxy.app.listening[1].rpartition(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
                request = await node.take(frames.HttpRequest)
                assert request.target == "/a"
