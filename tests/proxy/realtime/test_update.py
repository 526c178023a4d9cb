"""What an application keeps of a client: replaced by a node, known to all."""

import pytest

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import Admitted
from holdfast.protocols.nodes.carried import MAX_DATA_BYTES, MAX_DEPTH
from holdfast.protocols.nodes.clients import ClientView
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.nodes.knocking import admit, asked_for, knocking, text

NEW = b'{"team":4}'


async def changed(node):
    """The clients of the next changes, as they are."""
    return [change.client for change in (await node.take(frames.Changes)).changes]


async def test_every_node_is_told_and_the_rest_of_the_client_stays():
    async with running() as proxy:
        with asked_for(proxy) as node, ScriptedNode(proxy.node, "other") as other:
            await node.join()
            await other.join()
            async with knocking(proxy) as peer:
                await admit(node, Admitted("ada", b'{"team":3}'))
                await peer.until(b" 101 ")
                (before,) = await changed(other)
                node.do(frames.Update(before.id, NEW))
                (after,) = await changed(other)
                assert (after.user, after.data) == ("ada", NEW)
                assert after == frames.Client(*[getattr(before, f) for f in before.__struct_fields__[:7]], NEW)
                assert await changed(node) == [before]
                assert await changed(node) == [after]
                with ScriptedNode(proxy.node, "late") as late:
                    late.say(late.hello)
                    assert (await late.take(frames.Clients)).clients == [after]


async def test_the_next_request_brings_it_to_a_node_that_is_told_of_no_clients():
    async with running() as proxy:
        async with websocket(proxy) as client:
            with ScriptedNode(proxy.node, wants_clients=False) as node:
                await node.join()
                await client.send("one")
                first = await node.take(frames.Request)
                assert frames.decode_client(first.info).data == b""
                await node.reply(first, effects=[frames.Update(first.client, NEW)])  # with its reply, and before that
                assert await client.recv() == "one"
                await client.send("two")
                second = await node.reply()
                assert frames.decode_client(second.info).data == NEW
                node.do(frames.Update(first.client, b""))
                await node.take(frames.Ack)
                await client.recv()
                await client.send("three")
                assert (await node.reply()).info == first.info


async def test_a_node_knows_it_before_the_client_s_next_request():
    async with running() as proxy:
        async with websocket(proxy) as client:
            with ScriptedNode(proxy.node, "one") as one:
                await one.join()
                with ScriptedNode(proxy.node, "other") as other:
                    await other.join()
                    (id,) = client_ids(proxy)
                    one.say(frames.Drain())
                    one.do(frames.Update(id, NEW))
                    await one.take(frames.Ack)
                    await client.send("x")
                    request = await other.take(frames.Request)
                    kinds = [type(frame) for frame in other.frames]
                    assert kinds.index(frames.Changes) < kinds.index(frames.Request)
                    assert request.info == b""
                    assert (await changed(other))[0].data == NEW


async def test_of_a_client_that_is_not_there_it_is_nothing():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.do(frames.Update(1, NEW))
            await node.take(frames.Ack)
            async with websocket(proxy):
                pass
            app = proxy.app
            await proxy.until(lambda: app.announcer.sequence == 2 and not app.registry.pending)
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)
            changes = [change for frame in node.frames if isinstance(frame, frames.Changes) for change in frame.changes]
            assert [type(change) for change in changes] == [frames.Opened, frames.Closed]


@pytest.mark.parametrize("within", ["effects", "a reply", "what the master does"])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"0" * (MAX_DATA_BYTES + 1), "at most 16384 bytes"),
        (b"{oops", "is not JSON"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "at most 64 deep"),
    ],
    ids=["too much", "no JSON", "too deep"],
)
async def test_what_others_could_not_read_ends_the_session_of_who_said_it(within, data, why):
    async with running() as proxy:
        async with websocket(proxy) as client:
            with ScriptedNode(proxy.node, "other") as other, ScriptedNode(proxy.node) as node:
                await node.join()
                (id,) = client_ids(proxy)
                update = frames.Update(id, data)
                if within == "a reply":
                    await client.send("x")
                    await node.reply(effects=[update])
                else:
                    node.do(update if within == "effects" else frames.AsMaster(1, [update]))
                assert why in (await node.take(frames.Refused)).reason
                await other.join()
                assert proxy.app.registry.get(id).data == b""


async def test_of_two_nodes_updates_the_later_one_counts_and_one_of_a_lost_attempt_does_not():
    async with running() as proxy:
        with ScriptedNode(proxy.node, "one") as one, ScriptedNode(proxy.node, "other") as other:
            await one.join()
            async with websocket(proxy) as client:
                await client.send("x")
                request = await one.take(frames.Request)
                await other.join()
                one.close()
                again = await other.take(frames.Request)
                other.say(frames.Reply(request.id, 1, b"", True, False, [frames.Update(request.client, b"0")]))
                other.do(frames.Update(request.client, b"1"))
                await other.reply(again, effects=[frames.Update(request.client, b"2")])
                assert await client.recv() == "x"
                assert proxy.app.registry.get(request.client).data == b"2"


async def test_a_node_that_knows_nothing_of_it_is_not_harmed():
    """One that said hello as it always did: it is told of a client that it knows, and that is all."""
    async with running() as proxy:
        with ScriptedNode(proxy.node, "older") as older, ScriptedNode(proxy.node) as node:
            older.say([10, 1, older.id, "older", 7, 16])
            welcome = await older.take(frames.Welcome)
            assert welcome.takes == ["ask", "update", "orphans", "history"]
            await older.finish_join()
            await node.join()
            view = ClientView()
            view.welcome(welcome.clients_sequence)
            view.page(frames.Clients([], last=True))
            async with knocking(proxy, text(b"hello")) as peer:
                assert await peer.until(b" 101 ")  # nobody is asked
                (id,) = client_ids(proxy)
                view.changes(await older.take(frames.Changes))
                node.do(frames.Update(id, NEW))
                view.changes(await older.take(frames.Changes))
                assert view.clients[id].data == NEW
            view.changes(await older.take(frames.Changes))
            assert not view.clients
            older.say(frames.Heartbeat(1.0))
            await older.take(frames.Heartbeat)
            assert not any(isinstance(frame, frames.Call | frames.Answered) for frame in older.frames)
