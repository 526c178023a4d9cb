"""A node is asked before a session is open, and before anything is said to the client: who is let in, who is not."""

import json

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import Admitted, encode_admitted
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.nodes.knocking import ADA, admit, asked_for, is_forgotten, knocking, refuse, text

# --- who is asked, and when ---------------------------------------------------------------------------------------


async def test_nobody_is_asked_where_no_node_takes_it():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await client.send("x")
                await node.reply()
                assert await client.recv() == "x"
            assert not any(isinstance(frame, frames.Call) for frame in node.frames)
            assert not proxy.counters.admissions


async def test_nothing_is_said_or_told_before_the_answer():
    async with running() as proxy:
        with asked_for(proxy) as doorman, ScriptedNode(proxy.node, "other") as other:
            await doorman.join()
            await other.join()
            async with knocking(proxy) as peer:
                call = await doorman.take(frames.Call)
                assert (call.kind, call.attempt, call.before, call.payload) == ("connect", 1, 0, b"")
                assert 0 < call.timeout <= 10_000
                client = frames.decode_client(call.info)
                assert client.id == call.client
                assert (client.protocol, client.path, client.query) == ("websocket", "/room", "token=t")
                assert ("x-who", "ada") in client.headers
                assert (client.user, client.data) == ("", b"")
                assert client_ids(proxy) == []
                # Whatever had been told or said before would be there by then.
                other.say(frames.Heartbeat(1.0))
                await other.take(frames.Heartbeat)
                assert not any(isinstance(frame, frames.Changes) for frame in other.frames)
                assert proxy.counters.bytes_sent == 0
                await admit(doorman, ADA, call)
                assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                (opened,) = (await other.take(frames.Changes)).changes
                assert opened.client == frames.Client(**{**fields(client), "user": "ada", "data": b'{"team":3}'})
                assert proxy.counters.admissions == {"admitted": 1}


def fields(client):
    return {name: getattr(client, name) for name in client.__struct_fields__}


async def test_who_is_admitted_is_in_its_channels_at_once_and_is_known_with_its_requests():
    async with running() as proxy:
        with asked_for(proxy, wants_clients=False) as node:
            await node.join()
            async with knocking(proxy, text(b"hello")) as peer:
                call = await admit(node, ADA)
                request = await node.take(frames.Request)
                assert request.payload == b"hello"
                info = frames.decode_client(request.info)
                assert (info.id, info.user, info.data) == (call.client, "ada", b'{"team":3}')
                node.do(frames.Notify(b"to the team", True, ["team/3"], b"", b""))
                await peer.until(b"to the team")
                assert proxy.app.channels.count("lobby") == 1


async def test_a_node_that_comes_later_is_told_who_everybody_is():
    async with running() as proxy:
        with asked_for(proxy) as doorman:
            await doorman.join()
            async with knocking(proxy) as peer:
                await admit(doorman, ADA)
                await peer.until(b"\r\n\r\n")
                with ScriptedNode(proxy.node, "late") as late:
                    late.say(late.hello)
                    (client,) = (await late.take(frames.Clients)).clients
                    assert (client.user, client.data) == ("ada", b'{"team":3}')


async def test_no_word_is_anybody():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                await admit(node)
                await peer.until(b" 101 ")
                (client,) = (await node.take(frames.Changes)).changes
                assert (client.client.user, client.client.data) == ("", b"")


async def test_what_came_with_the_handshake_and_while_it_waited_is_handled_after_it_in_order():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy, text(b"one") + text(b"two")) as peer:
                call = await node.take(frames.Call)
                await peer.stream.send_all(text(b"three"))
                assert not any(isinstance(frame, frames.Request) for frame in node.frames)
                await admit(node, ADA, call)
                for payload in (b"one", b"two", b"three"):
                    assert (await node.reply()).payload == payload
                said = await peer.until(b"three")
                assert said.index(b" 101 ") < said.index(b"one") < said.index(b"two") < said.index(b"three")


async def test_a_ping_before_the_answer_is_answered_after_it():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            ping = FrameProtocol(client=True, extensions=[]).ping(b"are you there")
            async with knocking(proxy, ping) as peer:
                await admit(node)
                said = await peer.until(b"are you there")
                assert said.startswith(b"HTTP/1.1 101 ")
                assert said[-15] == 0x80 | Opcode.PONG


async def test_single_requests_over_http_are_not_asked_for():
    async with running(client={"admission": "required"}) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy, handshake=b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n") as peer:
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, 1, b"here"))
                assert await peer.until(b"here")


# --- who may not --------------------------------------------------------------------------------------------------


async def test_a_refusal_is_a_status_in_place_of_101_with_a_body():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy, text(b"never handled")) as peer:
                await refuse(node, 403, "not on the list")
                head, _, body = (await peer.to_the_end()).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 403 ")
                assert b"connection: close" in head.lower()
                assert json.loads(body)["error"]["message"] == "not on the list"
                assert json.loads(body)["status"] == 403
            await proxy.until(lambda: is_forgotten(proxy))
            assert proxy.counters.admissions == {"refused": 1}
            assert not any(isinstance(frame, frames.Request | frames.Changes) for frame in node.frames)


async def test_a_refusal_with_a_close_code_completes_the_handshake_and_says_that():
    async with running() as proxy:
        with asked_for(proxy) as node, ScriptedNode(proxy.node, "other") as other:
            await node.join()
            await other.join()
            async with knocking(proxy, text(b"never handled")) as peer:
                await refuse(node, 401, "who are you?", 4401)
                said = await peer.until(b"who are you?")
                assert said.startswith(b"HTTP/1.1 101 ")
                assert said.endswith(b"\r\n\r\n\x88\x0e" + (4401).to_bytes(2, "big") + b"who are you?")
            await proxy.until(lambda: is_forgotten(proxy))
            assert not any(isinstance(frame, frames.Request | frames.Changes) for frame in other.frames)
            assert proxy.counters.admissions == {"refused": 1}


@pytest.mark.parametrize("code", [1, 1000, 1005, 3999, 5000, -4401, 2**40])
async def test_a_close_code_that_is_no_application_s_is_a_bad_reply(code):
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                await refuse(node, 401, "x", code)
                assert (await peer.to_the_end()).startswith(b"HTTP/1.1 502 ")
            assert proxy.counters.admissions == {"failed": 1}


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: frames.Reply(call.id, call.attempt, b"ada", True),
        lambda call: frames.Reply(call.id, call.attempt, b"\x91\xc4\x01a", False),
        lambda call: frames.Reply(call.id, call.attempt, encode_admitted(Admitted("ada", b"{oops")), False),
        lambda call: frames.Reply(call.id, call.attempt, b"", False, more=True),
        lambda call: frames.HttpReply(call.id, call.attempt, b"", 403),
    ],
    ids=["text", "a user that is none", "data that is no JSON", "in parts", "of HTTP"],
)
async def test_what_is_no_admission_is_a_502_and_nobody_is_let_in(answer):
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                node.say(answer(await node.take(frames.Call)))
                assert (await peer.to_the_end()).startswith(b"HTTP/1.1 502 ")
            await proxy.until(lambda: is_forgotten(proxy))
            assert proxy.counters.admissions == {"failed": 1}
            assert not any(isinstance(frame, frames.Changes) for frame in node.frames)


async def test_no_answer_in_time_is_a_504_and_a_cancel_and_a_late_one_lets_nobody_in():
    async with running(request={"timeout": 0.3}) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                call = await node.take(frames.Call)
                assert (await peer.to_the_end()).startswith(b"HTTP/1.1 504 ")
                assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
            await admit(node, ADA, call)
            await proxy.until(lambda: proxy.counters.stale_replies == 1)
            assert is_forgotten(proxy)
