"""That a client has come and has gone, told to one node: at least once, in this order, and marked when it is again."""

from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from holdfast.balancer.directory import NodeState
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes import once as module
from tests.harness import ScriptedNode, client_ids, running, websocket

BOTH = ["open", "close"]


def told(proxy, takes=BOTH, name="clerk", **hello):
    return ScriptedNode(proxy.node, name, takes=list(takes), **hello)


@asynccontextmanager
async def told_node(proxy, takes=BOTH, name="clerk", **hello):
    with told(proxy, takes, name, **hello) as node:
        yield await node.join()


async def done(node, call=None):
    call = call or await node.take(frames.Call)
    node.say(frames.Reply(call.id, call.attempt, b"", False))
    return call


async def comes_and_goes(proxy):
    """A client's id, which has gone."""
    async with websocket(proxy, "/room?a=b"):
        await proxy.until(lambda: client_ids(proxy))
        (id,) = client_ids(proxy)
    await proxy.until(lambda: not client_ids(proxy))
    return id


def calls_of(node):
    return [frame for frame in node.frames if isinstance(frame, frames.Call)]


async def heard(node):
    """The node has what was sent to it before."""
    node.say(frames.Heartbeat(1.0))
    await node.take(frames.Heartbeat)


async def test_one_node_is_told_that_a_client_came_and_then_that_it_went():
    async with running() as proxy, told_node(proxy) as one, told_node(proxy, name="other") as other:
        async with websocket(proxy, "/room?a=b") as client:
            await proxy.until(lambda: len(proxy.app.ledger) == 1)
            await heard(one)
            await heard(other)
            ((node, call),) = [(node, call) for node in (one, other) for call in calls_of(node)]
            assert (call.kind, call.attempt, call.before) == ("open", 1, 0)
            assert [call.client] == client_ids(proxy)
            info = frames.decode_client(call.info)
            assert (info.id, info.path, info.query) == (call.client, "/room", "a=b")
            await done(node, call)
            await proxy.until(lambda: not len(proxy.app.calls.once))
            await client.aclose()
        await proxy.until(lambda: len(proxy.app.ledger) == 1)
        await heard(one)
        await heard(other)
        ((node, closed),) = [(node, call) for node in (one, other) for call in calls_of(node) if call.kind == "close"]
        assert (closed.client, closed.attempt, closed.before) == (call.client, 1, 0)
        assert (closed.payload, closed.is_text, closed.info) == (b"client_left", True, call.info)
        await done(node, closed)
        await proxy.until(lambda: not len(proxy.app.calls.once))


async def test_nothing_is_told_or_kept_where_nobody_wants_to_know():
    async with running() as proxy:
        await comes_and_goes(proxy)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await comes_and_goes(proxy)
            assert not len(proxy.app.calls.once)
            await heard(node)
            assert not calls_of(node)


async def test_who_wants_only_one_of_them_gets_only_that():
    async with running() as proxy, told_node(proxy, ["close"]) as node:
        id = await comes_and_goes(proxy)
        call = await done(node)
        assert (call.kind, call.client) == ("close", id)
        assert [each.kind for each in calls_of(node)] == ["close"]
        await proxy.until(lambda: not len(proxy.app.calls.once))


async def test_that_it_went_waits_until_it_is_told_that_it_came():
    async with running() as proxy, told_node(proxy) as node:
        id = await comes_and_goes(proxy)
        opened = await node.take(frames.Call)
        await heard(node)
        assert [call.kind for call in calls_of(node)] == ["open"]
        assert len(proxy.app.calls.once) == 1
        await done(node, opened)
        closed = await done(node)
        assert (closed.kind, closed.client) == ("close", id)


async def test_that_it_came_has_failed_and_that_it_went_is_told_all_the_same():
    """It is an answer, and the node's own log has it."""
    async with running() as proxy, told_node(proxy) as node:
        await comes_and_goes(proxy)
        opened = await node.take(frames.Call)
        node.say(frames.Failure(opened.id, 1, 500, "oh"))
        assert (await done(node)).kind == "close"
        assert not proxy.counters.once_given_up
        await proxy.until(lambda: not len(proxy.app.calls.once))


async def test_a_lost_node_s_event_goes_to_another_one_marked():
    async with running() as proxy, told_node(proxy) as one:
        await comes_and_goes(proxy)
        first = await one.take(frames.Call)
        async with told_node(proxy) as other:
            one.close()
            again = await done(other)
            assert (again.id, again.kind, again.attempt, again.before) == (first.id, "open", 2, 0)
            assert (await done(other)).kind == "close"


@pytest.mark.parametrize("lost", [1, 0], ids=["lost", "too late"])
async def test_what_was_perhaps_told_is_told_again_later_and_marked(lost):
    """Its request is over without an answer: by then a node may have done it."""
    async with running(request={"timeout": 0.4, "parked_timeout": 0.1}) as proxy, told_node(proxy) as one:
        await comes_and_goes(proxy)
        first = await one.take(frames.Call)
        if lost:
            one.close()
            await proxy.until(lambda: not proxy.app.directory.nodes)
            await proxy.until(lambda: not len(proxy.app.ledger))  # and it is not parked for ever
            assert len(proxy.app.calls.once) == 1
        else:
            await one.take(frames.Cancel)
        async with told_node(proxy) as other:
            node = other if lost else one
            again = await node.take(frames.Call)
            assert again.id != first.id
            assert (again.kind, again.client, again.attempt, again.before) == ("open", first.client, 1, 1)


async def test_it_waits_while_no_node_is_there_and_takes_no_room_of_clients():
    async with running(request={"parked_timeout": 0.05}) as proxy:
        async with told_node(proxy, name="clerk"):
            pass
        await proxy.until(lambda: not proxy.app.directory.nodes)
        with ScriptedNode(proxy.node, "another") as another:  # ready, and of another application: they are still wanted
            await another.join()
            ids = [await comes_and_goes(proxy) for _ in range(3)]
            assert len(proxy.app.calls.once) == 3
            assert not len(proxy.app.ledger)
            async with told_node(proxy) as node:
                calls = [await done(node) for _ in range(6)]
                assert [call.client for call in calls if call.kind == "open"] == ids
                assert sorted(call.client for call in calls if call.kind == "close") == sorted(ids)
                assert all((call.attempt, call.before) == (1, 0) for call in calls)
                await proxy.until(lambda: not len(proxy.app.calls.once))


async def test_there_is_no_room_for_it_at_once_and_it_is_told_later():
    async with running(request={"max_in_flight": 1}) as proxy, told_node(proxy) as node:
        first = await comes_and_goes(proxy)
        call = await node.take(frames.Call)
        second = await comes_and_goes(proxy)
        hits = proxy.counters.limits_hit
        await proxy.until(lambda: hits["request.max_in_flight"] >= 2)  # again and again, and one at a time
        await done(node, call)
        calls = [await done(node) for _ in range(3)]
        told_of = [(each.kind, each.client) for each in (call, *calls)]
        assert sorted(told_of) == sorted((kind, id) for kind in BOTH for id in (first, second))
        for id in (first, second):
            assert told_of.index(("open", id)) < told_of.index(("close", id))


async def test_only_so_many_are_with_nodes_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "MAX_SENT", 2)
    async with running() as proxy, told_node(proxy, ["close"]) as node:
        for _ in range(5):
            await comes_and_goes(proxy)
        await heard(node)
        assert len(calls_of(node)) == len(proxy.app.ledger) == 2
        assert len(proxy.app.calls.once) == 5
        for _ in range(5):
            await done(node)
        await proxy.until(lambda: not len(proxy.app.calls.once))


async def test_it_is_given_up_when_nobody_took_it_for_long():
    async with running() as proxy:
        async with told_node(proxy):
            pass
        await proxy.until(lambda: not proxy.app.directory.nodes)
        id = await comes_and_goes(proxy)
        once = proxy.app.calls.once
        with capture_logs() as logs:
            proxy.app.reactor.now += module.PATIENCE - 1.0
            once.tick()
            assert len(once) == 1
            proxy.app.reactor.now += 1.1
            once.tick()  # that it came; that it went happened then, and has its own time
            proxy.app.reactor.now += module.PATIENCE
            once.tick()
        assert not len(once)
        assert [(each["event"], each["kind"], each["client"]) for each in logs] == [
            ("once_given_up", "open", f"{id:016x}"),
            ("once_given_up", "close", f"{id:016x}"),
        ]
        assert proxy.counters.once_given_up == 2


async def test_what_is_told_and_never_answered_is_given_up_as_well():
    async with running(request={"timeout": 0.2}) as proxy, told_node(proxy, ["close"]) as node:
        await comes_and_goes(proxy)
        await node.take(frames.Call)
        (entries,) = proxy.app.ledger.by_connection().values()
        entries[0].event.since -= module.PATIENCE
        await proxy.until(lambda: proxy.counters.once_given_up == 1)
        assert not len(proxy.app.calls.once)


@pytest.mark.parametrize(("limit", "value"), [("MAX_WAITING", 2), ("MAX_WAITING_BYTES", 350)])
async def test_what_is_above_the_limit_is_given_up_and_its_end_too(monkeypatch, limit, value):
    async with running() as proxy:
        async with told_node(proxy):
            pass
        await proxy.until(lambda: not proxy.app.directory.nodes)
        monkeypatch.setattr(module, limit, value)
        for _ in range(5):
            await comes_and_goes(proxy)
        once = proxy.app.calls.once
        assert len(once) <= 3
        given_up = proxy.counters.once_given_up
        assert given_up == proxy.counters.limits_hit["once.max_waiting"] > 0
        async with told_node(proxy) as node:
            for _ in range(10 - given_up):
                await done(node)
            await proxy.until(lambda: not len(once))
            assert (once._bytes, once._sent, once._tellings) == (0, 0, {})


async def test_an_application_that_wants_it_no_more_is_owed_nothing():
    async with running() as proxy:
        async with told_node(proxy, name="chat"):
            pass
        await proxy.until(lambda: not proxy.app.directory.nodes)
        await comes_and_goes(proxy)
        assert len(proxy.app.calls.once) == 1
        with ScriptedNode(proxy.node, "chat") as node:
            await node.join()
            await proxy.until(lambda: not len(proxy.app.calls.once))
            assert not proxy.counters.once_given_up


@pytest.mark.parametrize("reason", [Reason.FENCED, Reason.INTERRUPTED])
async def test_who_is_closed_because_we_were_away_may_have_been_told_of_by_another_proxy(reason):
    async with running() as proxy, told_node(proxy, ["close"]) as node, websocket(proxy):
        (session,) = proxy.app.clients.all_sessions()
        session.connection.close(reason, "away")
        proxy.app.reactor.settle()
        call = await done(node)
        assert (call.payload.decode(), call.before) == (reason.value, 1)


async def test_what_its_node_does_is_done_once_and_with_the_answer():
    """As of a request: what a node does that is lost before it answers leaves no trace."""
    async with running() as proxy, told_node(proxy, ["open"]) as one, websocket(proxy) as client:
        call = await one.take(frames.Call)
        one.say(frames.Reply(call.id, 2, b"", False, False, [frames.Broadcast(b"never", True)]))  # not its attempt
        async with told_node(proxy, ["open"]) as other:
            one.close()
            again = await other.take(frames.Call)
            other.say(frames.Reply(again.id, again.attempt, b"", False, False, [frames.Broadcast(b"hello", True)]))
            assert await client.recv() == "hello"


async def test_a_draining_node_is_told_nothing_more():
    async with running() as proxy, told_node(proxy) as node:
        node.say(frames.Drain())
        (state,) = proxy.app.directory.nodes.values()
        await proxy.until(lambda: state.state is NodeState.DRAINING)
        await comes_and_goes(proxy)
        await heard(node)
        assert not calls_of(node)
        assert len(proxy.app.calls.once) == 1


async def test_nobody_is_there_to_hear_what_only_others_want_who_are_gone():
    async with running() as proxy:
        async with told_node(proxy, ["open"]):
            pass
        await proxy.until(lambda: not proxy.app.directory.nodes)
        async with told_node(proxy, ["close"], name="other") as node:
            await comes_and_goes(proxy)  # that it went waits for that it came
            await heard(node)
            assert len(proxy.app.calls.once) == 1
            assert not proxy.app.calls.once.is_heard
