import httpx
import pytest
import trio
from structlog.testing import capture_logs

from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running, websocket
from tests.proxy.still import StillProxy, taken


async def test_a_line_per_request_with_no_payload_and_no_query():
    async with running(log={"access_log": True, "level": "info"}, request={"parked_timeout": 0.2}) as proxy:
        with capture_logs() as lines:
            async with websocket(proxy) as client:
                await client.send("secret")
                await client.recv()  # nobody is there: 503
                with ScriptedNode(proxy.node) as node:
                    await node.join()
                    await client.send("secret")
                    await node.reply(payload=b"answer")
                    await client.recv()
                    async with httpx.AsyncClient() as http, trio.open_nursery() as nursery:
                        nursery.start_soon(http.get, f"http://{proxy.client}/path?secret=1")
                        request = await node.take(frames.HttpRequest)
                        node.say(frames.HttpReply(request.id, 1, b"x", 201))
        access = [line for line in lines if line["event"] == "request"]
        assert [line["status"] for line in access] == [503, 200, 201]
        assert [line["protocol"] for line in access] == ["websocket", "websocket", "http"]
        assert (access[1]["request_bytes"], access[1]["reply_bytes"], access[1]["attempt"]) == (6, 6, 1)
        assert (access[2]["method"], access[2]["path"]) == ("GET", "/path")
        assert [line["path"] for line in access[:2]] == ["/", "/"]
        assert access[2]["request"] == request.id
        assert access[1]["node"] == node.id
        assert access[0]["node"] is None
        assert all(0 <= line["seconds"] < 10 for line in access)
        assert "secret" not in str(access)


async def test_the_address_is_the_client_s_own_behind_a_balancer():
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    async with running(
        log={"access_log": True, "level": "info"},
        client={"trusted_peers": ("127.0.0.0/8",)},
        request={"parked_timeout": 0.1},
    ) as proxy:
        with capture_logs() as lines:
            async with websocket(proxy, additional_headers=forwarded) as client:
                await client.send("x")
                await client.recv()
            async with httpx.AsyncClient() as http:
                await http.get(f"http://{proxy.client}/", headers=forwarded)
        assert [line["address"] for line in lines if line["event"] == "request"] == ["203.0.113.9"] * 2


async def test_so_is_that_of_a_client_without_a_session_that_is_cut_off():
    async with running(client={"trusted_peers": ("127.0.0.0/8",), "ping_timeout": 0.2}) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, 1, b"x" * 15_000_000))
                await proxy.until(lambda: proxy.counters.slow_consumers)
        [line] = [line for line in lines if line["event"] == "client_closed"]
        assert (line["address"], line["reason"]) == ("203.0.113.9", "slow_consumer")
        assert "none was taken for 0.2 s" in line["detail"]


async def test_only_a_share_is_logged():
    async with running(
        log={"access_log": True, "access_log_sample": 0.0, "level": "info"}, request={"parked_timeout": 0.1}
    ) as proxy:
        with capture_logs() as lines:
            async with websocket(proxy) as client:
                await client.send("x")
                await client.recv()
        assert [line for line in lines if line["event"] == "request"] == []


async def test_a_client_that_its_handler_closes_is_known_all_the_same():
    async with running(log={"access_log": True, "level": "info"}) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy, "/room?x") as client:
                await client.send("x")
                request = await node.take(frames.Request)
                await node.reply(request, b"", [frames.CloseClient(request.client, "be gone")])
                await proxy.until(lambda: [line for line in lines if line["event"] == "request"], "the line")
        assert not proxy.app.dispatch._access_log._taken
        [line] = [line for line in lines if line["event"] == "request"]
        assert (line["path"], line["client"]) == ("/room", f"{request.client:016x}")
        assert line["address"].startswith("127.0.0.1:")


async def test_a_lost_node_is_named():
    async with running(log={"access_log": True, "level": "info"}, request={"redelivery": "never"}) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await client.send("x")
                await node.take(frames.Request)
                node.close()
                assert "node_lost" in await client.recv()
        [line] = [line for line in lines if line["event"] == "request"]
        assert (line["status"], line["node"]) == (502, node.id)


async def http_exchange(proxy, node, *replies):
    """All that the client of a GET gets, whose connection ends with the reply."""
    async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        request = await node.take(frames.HttpRequest)
        for reply in replies:
            node.say(reply(request.id))
        return b"".join([part async for part in stream])


@pytest.mark.parametrize("status", [502, 504])
async def test_what_the_client_was_sent_in_place_of_a_reply_is_counted(status):
    replies = [lambda id: frames.Failure(id, 1, 502, "broken")] if status == 502 else []
    request = {} if replies else {"timeout": 0.2}
    async with running(log={"access_log": True, "level": "info"}, request=request) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            said = await http_exchange(proxy, node, *replies)
            await proxy.until(lambda: [line for line in lines if line["event"] == "request"], "the line")
        [line] = [line for line in lines if line["event"] == "request"]
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert (line["status"], line["reply_bytes"]) == (status, len(said))


async def test_so_are_all_parts_of_a_reply():
    def part(payload, *, more=True):
        return lambda id: frames.HttpReply(id, 1, payload, 200, [], more)

    async with running(log={"access_log": True, "level": "info"}) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            await http_exchange(proxy, node, part(b"x" * 100), part(b"x" * 20), part(b"x", more=False))
            async with websocket(proxy) as client:
                await client.send("x")
                request = await node.take(frames.Request)
                node.say(*(frames.Reply(request.id, 1, payload, True, payload is not None) for payload in (b"y", None)))
                assert await client.recv() == "y"
            with pytest.raises(trio.BrokenResourceError):
                await http_exchange(proxy, node, part(b"x"), lambda id: frames.Failure(id, 1, 502, "broken"))
            await proxy.until(lambda: len([line for line in lines if line["event"] == "request"]) == 3, "the lines")
        access = [line for line in lines if line["event"] == "request"]
        assert [(line["status"], line["reply_bytes"]) for line in access] == [(200, 121), (200, 1), (502, 1)]


@pytest.mark.parametrize(
    ("request_line", "status", "is_streamed"),
    [("HEAD /", 200, False), ("HEAD /", 200, True), ("GET /", 204, False), ("GET /", 204, True), ("GET /", 304, False)],
)
async def test_a_body_that_is_not_sent_counts_for_nothing(request_line, status, is_streamed):
    async with running(log={"access_log": True, "level": "info"}) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
                await stream.send_all(f"{request_line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, 1, b"body", status, [], is_streamed))
                assert b"body" not in b"".join([part async for part in stream])
        [line] = [line for line in lines if line["event"] == "request"]
        assert (line["status"], line["reply_bytes"]) == (status, 0)


@pytest.mark.parametrize("parts", [0, 1])
async def test_who_leaves_before_the_end_has_a_line(parts):
    """Of a reply in parts, that did not come again; the next part finds nobody."""
    async with running(log={"access_log": True, "level": "info"}) as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy, "/room") as client:
                await client.send("x")
                request = await node.take(frames.Request)
                for _ in range(parts):
                    node.say(frames.Reply(request.id, 1, b"part", True, more=True))
                    assert await client.recv() == "part"
            await node.take(frames.Cancel)
            await proxy.until(lambda: [line for line in lines if line["event"] == "request"], "the line")
        [line] = [line for line in lines if line["event"] == "request"]
        assert (line["status"], line["reply_bytes"], line["node"]) == (499, 4 * parts, node.id)
        assert (line["path"], line["method"]) == ("/room", None)
        assert line["address"].startswith("127.0.0.1:")
        assert not proxy.app.dispatch._access_log._left


@pytest.fixture
async def still(mock_clock):
    proxy = StillProxy(trio_clock=True, log={"access_log": True, "level": "info"}, balance={"policy": "p2c-ewma"})
    yield proxy
    proxy.close()


async def test_a_reply_in_the_turn_of_its_request_has_taken_time(still, mock_clock):
    """For the log, and for a policy that goes by it."""
    peer, client = still.join(), still.client()
    with capture_logs() as lines:
        client.ask("x")
        still.hear()
        [request] = taken(peer, frames.Request)
        mock_clock.jump(0.003)
        peer.say(frames.Reply(request.id, 1, b"y", True))
        still.hear()
    [line] = [line for line in lines if line["event"] == "request"]
    [node] = still.app.directory
    assert line["seconds"] == node.latency == pytest.approx(0.003)


async def test_the_clock_does_not_go_back_for_a_batch(still):
    still.app.reactor.now = later = still.app.reactor.now + 100
    still.join()
    assert still.app.reactor.now == later


async def test_the_time_of_a_reply_in_parts_counts_from_its_request(still, mock_clock):
    peer, client = still.join(), still.client()
    with capture_logs() as lines:
        client.ask("x")
        still.hear()
        [request] = taken(peer, frames.Request)
        for more in (True, True, False):
            mock_clock.jump(5)
            peer.say(frames.Reply(request.id, 1, b"y", True, more=more))
            still.hear()
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["seconds"] == pytest.approx(15)


WHAT_FOLLOWS = {
    "part": lambda id: frames.Reply(id, 1, b"z", True, more=True),
    "end": lambda id: frames.Reply(id, 1, b"z", True),
    "failure": lambda id: frames.Failure(id, 1, 502, "broken"),
    "loss": None,
}


@pytest.mark.parametrize("has_parts", [False, True])
@pytest.mark.parametrize("then", WHAT_FOLLOWS.values(), ids=WHAT_FOLLOWS)
async def test_an_answer_that_finds_nobody_is_none(still, then, has_parts):
    """In the turn in which its client has left, before the ticker looks: one line each, and nothing was sent."""
    peer, client = still.join(), still.client()
    with capture_logs() as lines:
        client.ask("x")
        still.hear()
        [request] = taken(peer, frames.Request)
        if has_parts:
            peer.say(frames.Reply(request.id, 1, b"yy", True, more=True))
            still.hear()
        client.connection.lost()
        if then is None:
            peer.vanish()
        else:
            peer.say(then(request.id))
        still.hear()
        still.dispatch.abandon()
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["reply_bytes"], line["node"]) == (499, 2 * has_parts, "node")
    assert line["client"] == f"{client.id:016x}"


async def test_what_finds_no_place_to_wait_has_a_line():
    proxy = StillProxy(log={"access_log": True, "level": "info"}, request={"max_parked": 1})
    with capture_logs() as lines:
        for _ in range(2):
            proxy.client().ask("x")
    proxy.close()
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["node"]) == (503, None)
