"""A request with which nodes are lost: what killed them goes to no other one, and what did not loses nothing."""

import os
import sys
from contextlib import AsyncExitStack

import pytest
import structlog

import holdfast.testing
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running, websocket

POISONED = """
import os
from holdfast import Node

node = Node("poisoned")

@node.on_request
async def handle(request):
    if request.payload == b"poison":
        os._exit(3)
    return request.payload
"""


async def joined(proxy, stack, name, **hello):
    hello.setdefault("takes_offers", True)
    return await stack.enter_context(ScriptedNode(proxy.node, name, **hello)).join()


async def taken(node):
    """The request that it is offered, and takes."""
    node.say(await node.take(frames.Offer))
    return await node.take(frames.Request)


async def test_what_two_nodes_were_lost_with_is_given_to_no_third(monkeypatch):
    with structlog.testing.capture_logs() as logs:
        async with running() as proxy, websocket(proxy, "/room?token=secret") as client, AsyncExitStack() as stack:
            first = await joined(proxy, stack, "first")
            await client.send('{"requestId":"poison"}')
            await first.take(frames.Request)
            second = await joined(proxy, stack, "second")
            first.close()
            assert (await taken(second)).attempt == 2
            third = await joined(proxy, stack, "third")
            second.close()
            answer = await client.recv()
            assert '"id":"holdfast.quarantined"' in answer
            assert '"requestId":"poison"' in answer
            assert '"retryable":false' in answer
            await client.send("next")
            assert (await third.reply()).payload == b"next"
            assert not [frame for frame in third.frames if isinstance(frame, frames.Offer)]
            assert proxy.counters.request_errors[Reason.QUARANTINED] == 1
            client_id = proxy.app.clients.all_sessions()[0].id
    [line] = [line for line in logs if line["event"] == "request_quarantined"]
    assert line["client"] == f"{client_id:016x}"
    assert (line["path"], line["attempts"], line["node"]) == ("/room", 2, second.id)
    assert "secret" not in str(line)


async def test_nodes_that_die_together_take_nothing_along():
    """Those to whom it was sent before it was known that they are dead were not killed by it."""
    async with running() as proxy, websocket(proxy) as client, AsyncExitStack() as stack:
        first = await joined(proxy, stack, "first")
        await client.send("dear")
        await first.take(frames.Request)
        others = [await joined(proxy, stack, name) for name in ("second", "third", "fourth")]
        for node in (first, *others):
            node.close()
        last = await joined(proxy, stack, "last")
        request = await taken(last)
        assert (request.payload, request.attempt) == (b"dear", 2)
        await last.reply(request)
        assert await client.recv() == "dear"


async def test_it_is_offered_only_to_who_says_that_it_answers():
    async with running() as proxy, websocket(proxy) as client, AsyncExitStack() as stack:
        first = await joined(proxy, stack, "first")
        await client.send("again")
        await first.take(frames.Request)
        old = await joined(proxy, stack, "old", takes_offers=False)
        first.close()
        assert (await old.take(frames.Request)).attempt == 2
        await joined(proxy, stack, "third")
        old.close()
        assert "holdfast.quarantined" in await client.recv()


async def test_who_drains_gets_nothing_that_it_was_only_offered():
    async with running() as proxy, websocket(proxy) as client, AsyncExitStack() as stack:
        first = await joined(proxy, stack, "first")
        await client.send("again")
        await first.take(frames.Request)
        second = await joined(proxy, stack, "second")
        first.close()
        offer = await second.take(frames.Offer)
        third = await joined(proxy, stack, "third")
        second.say(frames.Drain(), offer)
        assert (await taken(third)).attempt == 2
        assert proxy.app.directory.nodes[second.id].in_flight == 0


async def test_an_offer_that_nobody_waits_for_any_more_is_not_followed_by_the_request():
    async with running() as proxy, AsyncExitStack() as stack:
        first = await joined(proxy, stack, "first")
        async with websocket(proxy) as client:
            await client.send("again")
            await first.take(frames.Request)
            second = await joined(proxy, stack, "second")
            first.close()
            offer = await second.take(frames.Offer)
        assert (await second.take(frames.Cancel)).request == offer.request
        second.say(offer, frames.Offer(1, 1), frames.Heartbeat(1.0))
        await second.take(frames.Heartbeat)
        assert not [frame for frame in second.inbox if isinstance(frame, frames.Request)]


async def test_a_process_that_ends_at_once_ends_two_and_no_more(tmp_path, monkeypatch):
    (tmp_path / "poisoned.py").write_text(POISONED, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), os.getcwd(), *sys.path])
    async with holdfast.testing.proxy() as proxy:
        nodes = [await proxy.node_process("poisoned:node") for _ in range(4)]
        async with websocket(Client(proxy.url)) as client:
            await client.send("poison")
            assert "holdfast.quarantined" in await client.recv()
            for number in range(8):
                await client.send(str(number))
                assert await client.recv() == str(number)
        assert sum(node.returncode is None and node.poll() is None for node in nodes) == 2


class Client:
    """As `websocket` wants it."""

    def __init__(self, url):
        self.client = url.removeprefix("ws://")


@pytest.mark.parametrize("status", [-1, 0, 100, 200, 399, 600, 999, 2**31])
async def test_a_status_that_is_none_costs_no_client_its_connection(status):
    async with running() as proxy, AsyncExitStack() as stack, websocket(proxy) as client:
        node = await joined(proxy, stack, "node")
        await client.send('{"requestId":1}')
        request = await node.take(frames.Request)
        node.say(frames.Failure(request.id, request.attempt, status, "what the node says"))
        answer = await client.recv()
        assert '"status":502' in answer
        assert "bad_reply" in answer
        await client.send("next")
        await node.reply()
        assert await client.recv() == "next"


async def test_a_node_that_takes_no_requests_is_given_none():
    async with running() as proxy, AsyncExitStack() as stack, websocket(proxy) as client:
        mute = await joined(proxy, stack, "mute", takes_requests=False)
        assert proxy.app.control.ready() == (False, "0 nodes are ready, cluster.minimum_nodes is 1")
        await client.send("early")
        await proxy.until(lambda: proxy.app.ledger.waiting)
        able = await joined(proxy, stack, "able")
        await able.reply()
        assert await client.recv() == "early"
        assert proxy.app.control.ready()[0]
        assert not [frame for frame in mute.frames if isinstance(frame, frames.Request)]


async def test_a_node_that_takes_no_requests_is_no_reason_to_eject_the_only_one_that_does():
    async with running(balance={"ejection_failures": 1}) as proxy, AsyncExitStack() as stack:
        await joined(proxy, stack, "mute", takes_requests=False)
        only = await joined(proxy, stack, "only")
        async with websocket(proxy) as client:
            for _ in range(3):
                await client.send("x")
                request = await only.take(frames.Request)
                only.say(frames.Failure(request.id, request.attempt, 500, "no"))
                await client.recv()
