"""Tokens at the edge, through real sockets: WebSocket and HTTP, with and without a node that is asked, and expiry."""

import json
import math
import socket
import time

import httpx
import pytest
import structlog
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import CONNECT, Admitted, encode_admitted
from holdfast.protocols.nodes.frames import decode_client
from holdfast.proxy.admin.exporter import requests_of
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.clients.test_connection import LineProtocol
from tests.proxy.cluster.proxies import cluster_of
from tests.proxy.signing import SECRET, pem, private, sign, written


def soon(**claims):
    return {"sub": "ada", "exp": time.time() + 600, **claims}


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


def tokened(**client):
    return running(client={"jwt_keys": SECRET, **client})


def browsing(proxy):
    return httpx.AsyncClient(base_url=f"http://{proxy.client}")


async def refused_with(proxy, path="/", **options):
    with pytest.raises(InvalidStatus) as caught:
        async with websocket(proxy, path, **options):
            pass
    return caught.value.response


# --- WebSocket --------------------------------------------------------------------------------------------------


async def test_a_session_is_of_who_its_token_says():
    async with tokened() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            claims = soon(roles=["admin"])
            async with websocket(proxy, additional_headers=bearer(sign(claims))) as client:
                opened = (await node.take(frames.Changes)).changes[0].client
                assert (opened.user, json.loads(opened.claims), opened.data) == ("ada", claims, b"")
                await client.send("hello")
                request = await node.take(frames.Request)
                node.say(frames.Reply(request.id, 1, b"hi", True))
                assert await client.recv() == "hi"
            assert proxy.counters.tokens == {"verified": 1}


async def test_a_node_that_is_not_told_of_clients_gets_the_claims_with_each_request():
    async with tokened() as proxy:
        with ScriptedNode(proxy.node, wants_clients=False) as node:
            await node.join()
            async with websocket(proxy, additional_headers=bearer(sign(soon()))) as client:
                await client.send("hello")
                told = decode_client((await node.take(frames.Request)).info)
                assert (told.user, json.loads(told.claims)["sub"]) == ("ada", "ada")


@pytest.mark.parametrize(
    ("token", "error", "outcome"),
    [
        (None, 'Bearer realm="holdfast"', "missing"),
        ("garbage", "the token is not a JWT", "refused"),
        (
            sign({"sub": "ada"}, "another secret of thirty-two byte"),
            "the token is not signed by a known key",
            "refused",
        ),
        (sign({"sub": "ada", "exp": 1}), "the token has expired", "expired"),
    ],
)
async def test_who_has_no_good_token_is_refused_before_101_and_nobody_hears_of_him(token, error, outcome):
    async with tokened() as proxy:
        with ScriptedNode(proxy.node, takes=[CONNECT]) as node:
            await node.join()
            answer = await refused_with(proxy, additional_headers=[] if token is None else bearer(token))
            assert answer.status_code == 401
            challenge = answer.headers["WWW-Authenticate"]
            if token is None:
                assert challenge == error
            else:
                said = f'error="invalid_token", error_description="{error}"'
                assert challenge == f'Bearer realm="holdfast", {said}'
            assert answer.headers["Content-Type"] == "application/json"
            assert json.loads(answer.body)["error"]["status"] == 401
            assert len(proxy.app.registry) == 0
            assert not [each for each in node.frames if isinstance(each, frames.Call)]
            assert proxy.counters.tokens == {outcome: 1}
            await proxy.until(lambda: not proxy.app.clients.connections)


async def test_what_comes_with_a_handshake_that_is_refused_is_not_looked_at():
    async with tokened() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
            async with stream:
                handshake = (
                    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                )
                await stream.send_all(handshake + b"\x81\x82\x00\x00\x00\x00hi")
                said = b"".join([part async for part in stream])
            assert said.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
            assert said.count(b"HTTP/1.1") == 1
            assert not [each for each in node.frames if isinstance(each, frames.Request)]


async def test_without_a_token_where_none_is_required():
    async with tokened(jwt_required=False) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy):
                opened = (await node.take(frames.Changes)).changes[0].client
                assert (opened.user, opened.claims) == ("", b"")
            assert (await refused_with(proxy, additional_headers=bearer("garbage"))).status_code == 401


async def test_in_a_cookie_and_in_the_query_as_browsers_can():
    origins = ("http://a.example",)
    async with tokened(jwt_from=("cookie:session", "query:token"), origins=origins) as proxy:
        token = sign(soon())
        async with websocket(proxy, additional_headers=[("Cookie", f"x=1; session={token}")], origin=origins[0]):
            pass
        async with websocket(proxy, f"/room?token={token}&x=1", origin=origins[0]):
            [id] = client_ids(proxy)
            assert proxy.app.registry.get(id).path == "/room"
        for headers in (bearer(token), [("Cookie", "session=garbage")]):
            answer = await refused_with(proxy, additional_headers=headers, origin=origins[0])
            assert answer.status_code == 401


async def test_no_token_is_in_the_log():
    token = sign(soon())
    with structlog.testing.capture_logs() as lines:
        async with (
            running(
                client={"jwt_keys": SECRET, "jwt_from": ("query:token",)}, log={"level": "debug", "access_log": True}
            ) as proxy,
            browsing(proxy) as http,
        ):
            with ScriptedNode(proxy.node) as node:
                await node.join()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(http.get, f"/a?token={token}")
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.HttpReply(request.id, 1, b""))
                await http.get(f"/a?token={token}x")
                await refused_with(proxy, f"/a?token={token}x")
                async with websocket(proxy, f"/a?token={token}"):
                    proxy.app.clients.all_sessions()[0].close(Reason.KICKED)
    assert [line for line in lines if line["event"] == "request"]
    assert token[:30] not in repr(lines)


async def test_a_protocol_without_headers_is_closed_with_the_reason():
    async with tokened() as proxy:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        assert proxy.app.clients.add(ours.detach(), "1.2.3.4:5", None, LineProtocol) is not None
        async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream:
            await stream.send_all(b"hello\nthere\n")
            said = b"".join([part async for part in stream])
            assert said == b"error unauthorized\nerror unauthorized\nbye\n"
        assert proxy.counters.connections_closed[Reason.UNAUTHORIZED] == 1
        assert proxy.counters.messages_received == 0


async def test_what_tools_ask_of_a_cluster_needs_no_token():
    async with cluster_of(1, client={"jwt_keys": SECRET}) as [proxy], browsing(proxy) as http:
        assert (await http.get("/_plugin/cluster/status")).status_code == 200
        assert (await http.get("/")).status_code == 401


async def test_keys_of_a_file_that_changes(tmp_path):
    first, second = private("ES256"), private("ES256", 1)
    path = written(tmp_path, pem(first))
    async with tokened(jwt_keys=path) as proxy:
        async with websocket(proxy, additional_headers=bearer(sign(soon(), first, "ES256"))):
            written(tmp_path, pem(second))
            verifier = proxy.app.clients.tokens._verifier
            verifier._looked_at = 0.0  # a second has passed
            headers = bearer(sign(soon(), second, "ES256"))
            async with websocket(proxy, additional_headers=headers):
                assert len(client_ids(proxy)) == 2  # who is there stays
            assert (
                await refused_with(proxy, additional_headers=bearer(sign(soon(), first, "ES256")))
            ).status_code == 401


# --- a node is asked as well ------------------------------------------------------------------------------------


async def admit(node, admitted):
    call = await node.take(frames.Call)
    assert call.kind == CONNECT
    node.say(frames.Reply(call.id, call.attempt, encode_admitted(admitted), False))
    return decode_client(call.info)


@pytest.mark.parametrize(("given", "user"), [("", "ada"), ("lovelace", "lovelace")])
async def test_a_node_is_asked_with_the_claims_and_may_give_another_name(given, user):
    async with tokened() as proxy:
        with ScriptedNode(proxy.node, takes=[CONNECT]) as node:
            await node.join()

            async def serve():
                asked = await admit(node, Admitted(given, b"{}"))
                assert (asked.user, json.loads(asked.claims)["sub"]) == ("ada", "ada")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                async with websocket(proxy, additional_headers=bearer(sign(soon()))):
                    opened = (await node.take(frames.Changes)).changes[0].client
                    assert (opened.user, opened.data, json.loads(opened.claims)["sub"]) == (user, b"{}", "ada")


@pytest.mark.parametrize(("of_token", "of_node", "expected"), [(600, 0.0, 600), (600, 60.0, 60), (60, 600.0, 60)])
async def test_the_session_ends_with_the_first_of_both(of_token, of_node, expected):
    async with tokened(jwt_leeway=0.0) as proxy:
        with ScriptedNode(proxy.node, takes=[CONNECT]) as node:
            await node.join()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(admit, node, Admitted(expires=of_node))
                token = sign({"exp": time.time() + of_token})
                async with websocket(proxy, additional_headers=bearer(token)):
                    [session] = proxy.app.clients.all_sessions()
                    assert expected - 50 < session.expires - session.since <= expected + 1


# --- expiry -----------------------------------------------------------------------------------------------------


async def test_an_expired_token_closes_its_session():
    async with tokened(jwt_leeway=0.0) as proxy:
        expires = int(time.time()) + 600
        proxy.app.clients.tokens._wall_clock = lambda: expires * 1_000_000 - 100_000
        async with websocket(proxy, additional_headers=bearer(sign({"exp": expires}))) as client:
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (3000, "the time of the session is over")


async def test_an_end_is_not_left_to_another_timer():
    async with tokened(handshake_timeout=900.0, ping_interval=0.0) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            for expires in (45, 6000):
                async with websocket(proxy, additional_headers=bearer(sign({"exp": time.time() + expires}))):
                    session = proxy.app.clients.all_sessions()[-1]
                    assert session.connection.timer <= session.since + 61
            async with websocket(proxy, additional_headers=bearer(sign({"sub": "ada"}))):
                session = proxy.app.clients.all_sessions()[-1]
                assert session.connection.timer > session.since + 800
                node.do(frames.Update(session.id, None, 45.0))
                await proxy.until(lambda: session.expires < math.inf)
                assert session.connection.timer <= session.expires + 1  # the wheel has slots


async def test_a_session_is_given_more_time_by_a_node():
    async with tokened(jwt_leeway=0.0) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            token = sign({"exp": time.time() + 600})
            async with websocket(proxy, additional_headers=bearer(token)) as client:
                [session] = proxy.app.clients.all_sessions()
                for expires, at_least, at_most in ((5000.0, 4900, 5100), (math.inf, math.inf, math.inf), (60.0, 0, 61)):
                    node.do(frames.Update(session.id, None, expires))
                    await proxy.until(lambda a=at_least, b=at_most: a <= session.expires - trio.current_time() <= b)
                assert session.id in client_ids(proxy)
                node.do(frames.Update(session.id, b'{"a":1}'))
                await proxy.until(lambda: proxy.app.registry.get(session.id).data == b'{"a":1}')
                assert session.expires < trio.current_time() + 61
                node.do(frames.Update(session.id, None, -5.0))
                with pytest.raises(ConnectionClosed) as caught:
                    await client.recv()
                assert caught.value.rcvd.code == 3000
                node.do(frames.Update(session.id, None, 60.0))  # it has gone: nothing happens
                await client.wait_closed()
            async with websocket(proxy, additional_headers=bearer(token)):
                pass


# --- HTTP -------------------------------------------------------------------------------------------------------


async def test_each_http_request_has_its_token():
    async with tokened() as proxy, browsing(proxy) as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            for user in ("ada", "bob"):  # on one connection
                async with trio.open_nursery() as nursery:

                    async def serve(user=user):
                        request = await node.take(frames.HttpRequest)
                        client = request.client
                        assert (client.user, json.loads(client.claims)["sub"], client.data) == (user, user, b"")
                        node.say(frames.HttpReply(request.id, 1, b"made"))

                    nursery.start_soon(serve)
                    token = sign(soon(sub=user))
                    answer = await http.get("/", headers={"Authorization": f"Bearer {token}"})
                    assert (answer.status_code, answer.content) == (200, b"made")
            for headers in ({}, {"Authorization": "Bearer garbage"}, {"Authorization": "Basic YTpi"}):
                answer = await http.post("/", headers=headers, content=b"x")
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith('Bearer realm="holdfast"')
                assert answer.json()["error"]["id"] == "holdfast.unauthorized"
            assert requests_of(proxy.app) == 2


async def test_http_without_a_token_where_none_is_required():
    async with tokened(jwt_required=False) as proxy, browsing(proxy) as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with trio.open_nursery() as nursery:

                async def serve():
                    request = await node.take(frames.HttpRequest)
                    assert (request.client.user, request.client.claims) == ("", b"")
                    node.say(frames.HttpReply(request.id, 1, b""))

                nursery.start_soon(serve)
                assert (await http.get("/")).status_code == 200


async def test_a_page_of_another_origin_can_not_ask_with_a_cookie():
    async with tokened(jwt_from=("cookie:session",), origins=("http://a.example",)) as proxy, browsing(proxy) as http:
        headers = {"Cookie": f"session={sign(soon())}", "Origin": "http://b.example"}
        answer = await http.post("/transfer", headers=headers)
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "holdfast.origin_refused")
        assert "www-authenticate" not in answer.headers


async def test_a_redelivered_request_has_its_claims_still():
    async with tokened() as proxy, browsing(proxy) as http:
        with ScriptedNode(proxy.node) as first, ScriptedNode(proxy.node) as second:
            await first.join()
            async with trio.open_nursery() as nursery:
                headers = {"Authorization": f"Bearer {sign(soon())}"}
                nursery.start_soon(lambda: http.get("/", headers=headers))
                await first.take(frames.HttpRequest)
                await second.join()
                first.say(frames.Bye("gone"))
                request = await second.take(frames.HttpRequest)
                assert request.client.user == "ada"
                second.say(frames.HttpReply(request.id, request.attempt, b""))


async def test_without_keys_nothing_is_looked_at():
    async with running() as proxy:
        assert proxy.app.clients.tokens is None
        assert not proxy.app.clients.asks_for_admission
        assert proxy.app.clients.dispatch == proxy.app.dispatch.request
        async with websocket(proxy, additional_headers=bearer("garbage")):
            pass
