"""A request that goes wrong is a line of the log, though nobody asks for one: who asked, which node, and why."""

import httpx
import pytest
import trio
from structlog.testing import capture_logs

from holdfast.masses import MOST
from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running, websocket
from tests.proxy.still import StillProxy, taken


def of(event, lines):
    return [line for line in lines if line["event"] == event]


async def test_no_reply_in_time():
    async with running(request={"timeout": 0.2}) as proxy, websocket(proxy, "/room?token=secret") as client:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("secret")
            request = await node.take(frames.Request)
            assert "deadline_exceeded" in await client.recv()
    [line] = of("request_timed_out", lines)
    assert line["log_level"] == "warning"
    assert (line["request"], line["client"], line["path"]) == (request.id, f"{request.client:016x}", "/room")
    assert (line["node"], line["attempt"], line["reason"]) == (node.id, 1, "deadline_exceeded")
    assert line["seconds"] >= 0.2
    assert "secret" not in str(lines)


async def test_no_node_in_time():
    async with running(request={"parked_timeout": 0.1}) as proxy, websocket(proxy) as client:
        with capture_logs() as lines:
            await client.send("x")
            assert "no_node" in await client.recv()
    [line] = of("request_timed_out", lines)
    assert (line["node"], line["attempt"], line["reason"]) == (None, 0, "no_node")


async def test_a_reply_in_parts_that_stops_is_so_long_without_one():
    proxy = StillProxy()
    node, client = proxy.join(), proxy.client()
    client.ask("please")
    proxy.turn()
    [request] = taken(node, frames.Request)
    for _ in range(3):
        proxy.tick(5.0)
        node.say(frames.Reply(request.id, 1, b"part", True, True))
        proxy.hear()
    with capture_logs() as lines:
        for _ in range(40):
            proxy.tick(5.0)
    proxy.close()
    [line] = of("request_timed_out", lines)
    assert line["seconds"] == pytest.approx(proxy.app.config.request.stream_timeout, abs=15.0)


@pytest.mark.parametrize("event", ["request_timed_out", "bad_reply"])
async def test_a_mass_of_them_is_some_lines_and_a_count(event):
    """The time is the test's: all go wrong in one second."""
    proxy = StillProxy()
    node, client = proxy.join(), proxy.client()
    for _ in range(MOST + 5):
        client.ask("please")
    proxy.turn()
    with capture_logs() as lines:
        if event == "bad_reply":
            for request in taken(node, frames.Request):
                node.say(frames.Failure(request.id, 1, 200, "a status that is none"))
            proxy.hear()
        else:
            proxy.tick(900.0)
        assert len(of(event, lines)) == MOST
        proxy.app.reactor.masses.tick(proxy.app.reactor.now + 1.0)
    [left_out] = of("lines_left_out", lines)
    assert left_out["of"] == event
    proxy.close()


@pytest.mark.parametrize("more", [False, True])
async def test_a_reply_that_can_not_be_said(more):
    async with running(log={"access_log": True}) as proxy, websocket(proxy, "/room") as client:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("x")
            request = await node.take(frames.Request)
            node.say(frames.Reply(request.id, 1, b"\xff", True, more))
            said = await client.recv()
            assert "bad_reply" in said
            await proxy.until(lambda: of("request", lines), "the access log")
            assert len(proxy.app.ledger) == 0
            if more:
                await node.take(frames.Cancel)
    [line] = of("bad_reply", lines)
    assert line["log_level"] == "warning"
    assert (line["request"], line["path"], line["node"]) == (request.id, "/room", node.id)
    assert "UTF-8" in line["why"]
    [line] = of("request", lines)
    assert (line["status"], line["reply_bytes"]) == (502, len(said) + 4)  # in a frame of WebSocket


async def test_a_status_that_is_none():
    async with running() as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with httpx.AsyncClient() as http, trio.open_nursery() as nursery:
                nursery.start_soon(http.get, f"http://{proxy.client}/a")
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, 1, b"x", 999))
            async with httpx.AsyncClient() as http, trio.open_nursery() as nursery:
                nursery.start_soon(http.get, f"http://{proxy.client}/b")
                request = await node.take(frames.HttpRequest)
                node.say(frames.Failure(request.id, 1, 200, "x"))
    lines = of("bad_reply", lines)
    assert [(line["path"], line["node"]) for line in lines] == [("/a", node.id), ("/b", node.id)]
    assert ["999" in lines[0]["why"], "200" in lines[1]["why"]] == [True, True]
