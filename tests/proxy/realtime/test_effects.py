"""What nodes do to clients and channels, in numbers: each once, whichever way and however often it comes."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, client_ids, running, websocket


@asynccontextmanager
async def room(clients=1, **sections):
    """A proxy, a node with a session, clients and their ids."""
    async with running(**sections) as proxy, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(websocket(proxy)) for _ in range(clients)]
        await proxy.until(lambda: len(client_ids(proxy)) == clients)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            yield proxy, node, sockets, client_ids(proxy)


def tell(text):
    return frames.Broadcast(text.encode(), True)


async def test_numbered_effects_are_acknowledged_once_for_a_batch():
    async with room() as (_, node, [client], _):
        node.say(frames.Effects(3, [tell("one")]), frames.Effects(7, [tell("two")]))
        assert (await node.take(frames.Ack)).number == 7
        assert [await client.recv(), await client.recv()] == ["one", "two"]
        assert not any(isinstance(frame, frames.Ack) for frame in node.inbox)


async def test_a_request_s_effects_are_acknowledged_at_once_because_its_reply_waits(monkeypatch):
    monkeypatch.setattr("holdfast.proxy.ticker.INTERVAL", 1000.0)  # by which others are
    async with room() as (_, node, _, _):
        node.say(frames.Effects(1, [tell("one")], "p", 5, 1))
        assert (await node.take(frames.Ack)).number == 1


async def test_numbers_go_on_in_the_next_session():
    async with room() as (proxy, node, [client], _):
        node.say(frames.Effects(3, [tell("one")]))
        await node.take(frames.Ack)
        node.close()
        again = ScriptedNode(proxy.node, node=node.id, incarnation=node.hello.incarnation)
        with again:
            again.say(again.hello)
            assert (await again.take(frames.Welcome)).seen == 3
            again.say(frames.Effects(3, [tell("one")]), frames.Effects(4, [tell("two")]))
            assert (await again.take(frames.Ack)).number == 4
            assert [await client.recv(), await client.recv()] == ["one", "two"]
            assert proxy.app.lanes.repeated == 1


async def test_another_run_of_the_node_numbers_anew():
    async with room() as (proxy, node, [client], _):
        node.say(frames.Effects(3, [tell("one")]))
        await node.take(frames.Ack)
        with ScriptedNode(proxy.node, node=node.id, incarnation=1) as other:
            other.say(other.hello)
            assert (await other.take(frames.Welcome)).seen == 0
            other.say(frames.Effects(1, [tell("two")]))
            assert [await client.recv(), await client.recv()] == ["one", "two"]


async def test_a_request_s_effects_are_done_once_though_two_nodes_tell_them():
    async with room() as (proxy, node, [client], _):
        with ScriptedNode(proxy.node) as other:
            await other.join()
            node.say(frames.Effects(1, [tell("part 1")], "p", 5, 1), frames.Effects(2, [tell("part 2")], "p", 5, 2))
            await node.take(frames.Ack)
            other.say(frames.Effects(1, [tell("part 1")], "p", 5, 1), frames.Effects(2, [tell("else")], "q", 5, 1))
            await other.take(frames.Ack)
            assert [await client.recv() for _ in range(3)] == ["part 1", "part 2", "else"]


async def test_a_node_that_dies_before_its_reply_has_done_all_once():
    """Two proxies: the client that asks is at one, others hear of it at both; another node's attempt repeats it."""
    async with room() as (home, first, [asking], _), room() as (other, first_there, [hearing], _):
        with ScriptedNode(home.node) as second, ScriptedNode(other.node) as second_there:
            await asking.send("go")
            request = await first.take(frames.Request)
            done = frames.Effects(1, [tell("done")], "home", request.id, 1)
            first_there.say(done)
            await first_there.take(frames.Ack)
            await second.join()
            await second_there.join()
            first.close()
            first_there.close()
            again = await second.take(frames.Request)
            assert (again.id, again.attempt) == (request.id, 2)
            second_there.say(done, frames.Effects(2, [tell("end")]))
            await second.reply(again, effects=[tell("done"), tell("end")])
            assert [await asking.recv() for _ in range(3)] == ["done", "end", "go"]
            assert [await hearing.recv() for _ in range(2)] == ["done", "end"]


async def test_more_requests_than_can_be_remembered_count_as_a_limit():
    async with room(realtime={"max_remembered_bytes": 1}) as (proxy, node, _, _):
        node.say(*(frames.Effects(number, [], "p", number << 20, 1) for number in range(1, 4)))
        await node.take(frames.Ack)
        hit = proxy.counters.limits_hit
        await proxy.until(lambda: hit["realtime.max_remembered_bytes"] == 2, "it to be counted")


async def test_effects_of_no_reply_are_never_taken_for_each_other():
    async with room() as (_, node, [client], _):
        node.say(frames.Effects(1, [tell("same")]), frames.Effects(2, [tell("same")]))
        assert [await client.recv() for _ in range(2)] == ["same", "same"]


async def test_a_hole_closes_every_session():
    from websockets.exceptions import ConnectionClosed

    async with room(clients=2) as (proxy, node, clients, _):
        node.say(frames.Effects(4, [tell("one")]), frames.Hole(4))  # nothing is missing
        await node.take(frames.Ack)
        assert len(client_ids(proxy)) == 2
        node.say(frames.Hole(5))
        for client in clients:
            assert await client.recv() == "one"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd.code == 1012


async def test_a_node_that_is_not_master_does_nothing_as_one():
    async with room() as (proxy, node, [client], _):
        node.say(frames.Effects(1, [frames.AsMaster(99, [tell("stale")])]), frames.Effects(2, [tell("end")]))
        assert await client.recv() == "end"
        assert proxy.counters.stale_effects == 1


async def test_channels_without_anybody_are_muted_until_somebody_joins():
    async with room() as (_, node, [client], [id]):
        node.say(frames.Effects(1, [frames.Notify(b"", True, ["a", "b"])]))
        assert await node.take(frames.Mute) == frames.Mute(["a", "b"])
        node.say(frames.Effects(2, [frames.Notify(b"", True, ["a"])]))
        assert await node.take(frames.Mute) == frames.Mute(["a"])  # it did not listen: told again
        node.say(frames.Effects(3, [frames.Join(id, "a")]), frames.Heartbeat(0.0))
        assert await node.take(frames.Unmute) == frames.Unmute(["a"])
        node.say(frames.Effects(4, [frames.Notify(b"heard", True, ["a"])]))
        assert await client.recv() == "heard"
        node.say(frames.Effects(5, [frames.Leave(id, "a"), frames.Join(id, "a")]), frames.Heartbeat(0.0))
        await node.take(frames.Heartbeat)
        await node.take(frames.Heartbeat)
        assert not any(isinstance(frame, frames.Mute | frames.Unmute) for frame in node.inbox)


async def test_a_channel_that_is_joined_in_the_same_batch_is_not_muted():
    async with room() as (_, node, _, [id]):
        node.say(frames.Effects(1, [frames.Notify(b"", True, ["a"])]), frames.Effects(2, [frames.Join(id, "a")]))
        node.say(frames.Effects(3, [frames.Notify(b"", True, ["b"])]))
        assert await node.take(frames.Mute) == frames.Mute(["b"])


async def test_a_node_that_has_gone_is_told_nothing():
    async with room() as (proxy, node, _, [id]):
        node.say(frames.Effects(1, [frames.Notify(b"", True, ["a"])]))
        await node.take(frames.Mute)
        node.say(frames.Bye())
        await proxy.until(lambda: not len(proxy.app.directory))
        assert len(proxy.app.mutes) == 0
        assert proxy.app.channels.join(id, "a")


async def test_effects_come_numbered_or_with_a_reply_and_in_no_other_way():
    async with room() as (proxy, node, _, _):
        node.say_raw(frames.encode_batch(3, [tell("bare")]))
        assert (await node.take(frames.Refused)).reason.startswith("protocol error")
        await proxy.until(lambda: not len(proxy.app.directory))


async def test_nodes_are_introduced_to_the_other_proxies():
    async with room() as (proxy, node, _, _):
        proxy.app.announcer.introduce([("p", "tcp://10.0.0.1:7510", True), ("q", "tcp://10.0.0.2:7510", False)], 7)
        proxy.app.reactor.settle()
        peers = [frames.Peer("p", "tcp://10.0.0.1:7510"), frames.Peer("q", "tcp://10.0.0.2:7510", False)]
        assert await node.take(frames.Peers) == frames.Peers(peers, 7)
        with ScriptedNode(proxy.node) as late:
            late.say(late.hello)
            welcome = await late.take(frames.Welcome)
            assert (welcome.peers, welcome.ballot) == (peers, 7)


async def test_a_count_is_asked_for():
    async with room() as (_, node, _, [id]):
        node.say(node.numbered(frames.Join(id, "a")), frames.AskCount(4, "a"), frames.AskCount(5, "b"))
        assert await node.take(frames.Counted) == frames.Counted(4, 1)
        assert await node.take(frames.Counted) == frames.Counted(5, 0)


async def test_the_answers_of_other_proxies_may_come_later():
    async with room() as (proxy, node, _, _):
        asked = []
        proxy.app.gateway._count_everywhere = lambda *question: asked.append(question) or True
        node.say(frames.AskCount(6, "a"))
        await proxy.until(lambda: asked)
        [(channel, told)] = asked
        assert channel == "a"
        told({"p": 2, "q": 10})
        proxy.app.reactor.settle()
        assert await node.take(frames.Counted) == frames.Counted(6, 12)


async def test_too_many_questions_are_answered_with_nothing():
    async with room() as (proxy, node, _, _):
        proxy.app.gateway._count_everywhere = lambda channel, told: False
        node.say(frames.AskCount(1, "a"))
        assert await node.take(frames.Counted) == frames.Counted(1, 0)
        assert proxy.counters.limits_hit["node.count"] == 1


async def test_a_mute_comes_before_the_acknowledgement():
    async with room() as (_, node, _, _):
        node.say(frames.Effects(1, [frames.Notify(b"", True, ["a"])]))
        await node.take(frames.Ack)
        said = [type(frame) for frame in node.frames]
        assert said.index(frames.Mute) < said.index(frames.Ack)
