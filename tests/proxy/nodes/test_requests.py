"""The way of a request, with a node that does what the test says."""

import re
from collections import Counter

import pytest
import trio
from structlog.testing import capture_logs

from holdfast.balancer.policies import POLICIES, RoundRobin
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.proxy.process.build import is_compiled
from tests.harness import ScriptedNode, running, websocket


async def test_message_goes_to_a_node_and_its_reply_comes_back():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("hello")
            request = await node.reply()
            assert (request.payload, request.is_text, request.attempt, request.timeout) == (b"hello", True, 1, 10_000)
            assert await client.recv() == "hello"
            await client.send(b"\x00\xff")
            assert not (await node.reply()).is_text
            assert await client.recv() == b"\x00\xff"
            assert proxy.app.control.status().in_flight == 0


async def test_replies_go_to_who_asked_in_any_order():
    async with running() as proxy, websocket(proxy) as one, websocket(proxy) as two:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await one.send('{"requestId":"same"}')
            first = await node.take(frames.Request)
            await two.send('{"requestId":"same"}')
            second = await node.take(frames.Request)
            assert first.client != second.client
            await node.reply(second, b"for two")
            await node.reply(first, b"for one")
            assert await one.recv() == "for one"
            assert await two.recv() == "for two"


async def test_request_without_a_node_is_parked_and_sent_when_one_comes():
    async with running() as proxy, websocket(proxy) as client:
        await client.send("early")
        await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            request = await node.reply()
            assert 0 < request.timeout <= 10_000
            assert await client.recv() == "early"


async def test_parked_too_long_is_a_503_with_the_clients_id_and_a_hint():
    async with running(request={"parked_timeout": 0.2}) as proxy, websocket(proxy) as client:
        await client.send('{"requestId":"mine"}')
        answer = await client.recv()
        assert '"requestId":"mine"' in answer
        assert '"status":503' in answer
        assert '"retryAfter":1.0' in answer
        assert proxy.counters.request_errors[Reason.NO_NODE] == 1


@pytest.mark.parametrize("takes", ["nothing", "requests, but is full"])
async def test_while_no_node_takes_requests_that_is_what_is_missing(takes):
    """Not nodes: one is there, and its author looks for what it has not registered."""
    settings = {"parked_timeout": 0.2, "timeout": 60.0}
    async with running(request=settings) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, capacity=1, takes_requests=takes != "nothing") as node:
            await node.join()
            if takes != "nothing":
                await client.send("busy")
                await node.take(frames.Request)
            await client.send("x")
            missing = "no node that takes requests" if takes == "nothing" else "no node"
            assert f'"{missing} was available for 0.2 s"' in await client.recv()


async def test_who_is_parked_until_its_deadline_is_told_how_long_it_was():
    """Not parked_timeout: its node was lost late, and then the deadline came first."""
    async with running(request={"timeout": 0.3, "parked_timeout": 60.0}) as proxy, websocket(proxy) as client:
        await client.send("x")
        await proxy.until(lambda: proxy.app.ledger.waiting)
        ((entry,),) = proxy.app.ledger.waiting.values()
        entry.since -= 40.0
        assert re.search(r'"no node was available for 40(\.\d)? s"', await client.recv())


async def test_what_is_late_when_a_node_gets_room_is_not_given_to_it():
    """Before the next sweep finds it."""
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, capacity=1) as node:
            await node.join()
            for message in ("busy", "late", "in time"):
                await client.send(message)
            await proxy.until(lambda: proxy.app.ledger.parked_count == 2)
            late, _ = next(iter(proxy.app.ledger.waiting.values()))
            late.deadline = proxy.app.reactor.now
            there = proxy.app.directory.nodes[node.id]
            there.capacity = 3
            proxy.app.directory.refresh(there)
            proxy.app.dispatch.unpark()
            assert (await node.reply()).payload == b"busy"
            assert (await node.reply()).payload == b"in time"
            answers = [await client.recv() for _ in range(3)]
            assert re.search(r'"no node was available for \d(\.\d)? s"', answers.pop(0))
            assert answers == ["busy", "in time"]
            assert (len(proxy.app.ledger), proxy.counters.request_errors[Reason.NO_NODE]) == (0, 1)


async def test_parking_is_bounded_and_says_so():
    async with running(request={"max_parked": 2}) as proxy, websocket(proxy) as client:
        for number in range(3):
            await client.send(f'{{"requestId":"r{number}"}}')
        answer = await client.recv()
        assert '"requestId":"r2"' in answer
        assert "holdfast.parking_full" in answer
        assert proxy.counters.limits_hit["request.max_parked"] == 1


async def test_too_many_in_flight_in_all():
    async with running(request={"max_in_flight": 1}) as proxy, websocket(proxy) as client:
        await client.send("one")
        await client.send("two")
        assert "too many requests in flight" in await client.recv()
        assert proxy.counters.limits_hit["request.max_in_flight"] == 1


async def test_deadline_is_a_504_and_a_cancel_and_the_late_reply_is_dropped():
    async with running(request={"timeout": 0.3}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send('{"requestId":"slow"}')
            request = await node.take(frames.Request)
            answer = await client.recv()
            assert '"status":504' in answer
            assert await node.take(frames.Cancel) == frames.Cancel(request.id, 1)
            effects = [frames.Join(request.client, "room")]
            await node.reply(request, b"late", effects)
            await proxy.until(lambda: proxy.counters.stale_replies == 1)
            assert proxy.app.channels.count("room") == 0


async def test_client_that_leaves_cancels_its_requests():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await client.send("never answered")
                request = await node.take(frames.Request)
            assert await node.take(frames.Cancel) == frames.Cancel(request.id, 1)
            await node.reply(request)
            await proxy.until(lambda: proxy.counters.stale_replies == 1)


async def test_a_lost_nodes_request_goes_to_another_marked_and_the_first_ones_reply_is_refused():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as first:
            await first.join()
            await client.send("important")
            request = await first.take(frames.Request)
            with ScriptedNode(proxy.node) as second:
                await second.join()
                first.close()
                again = await second.take(frames.Request)
                assert (again.id, again.attempt, again.payload) == (request.id, 2, b"important")
                await second.reply(again)
                assert await client.recv() == "important"
                assert proxy.counters.redelivered == 1


async def test_requests_of_lost_nodes_wait_for_a_node_in_the_order_of_opening():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as first:
            await first.join()
            await client.send("1")
            await client.send("2")
            await first.take(frames.Request)
            await first.take(frames.Request)
            first.close()
            await proxy.until(lambda: proxy.app.ledger.parked_count == 2)
            await client.send("3")
            with ScriptedNode(proxy.node) as second:
                await second.join()
                requests = [await second.take(frames.Request) for _ in range(3)]
                assert [(r.payload, r.attempt) for r in requests] == [(b"1", 2), (b"2", 2), (b"3", 1)]


async def test_redelivery_never():
    async with running(request={"redelivery": "never"}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send('{"requestId":1}')
            await node.take(frames.Request)
            node.close()
            answer = await client.recv()
            assert '"status":502' in answer
            assert '"retryable":true' in answer


async def test_max_attempts():
    async with running(request={"max_attempts": 3}) as proxy, websocket(proxy) as client:
        await client.send("poison")
        for attempt in (1, 2, 3):
            with ScriptedNode(proxy.node) as node:
                await node.join()
                assert (await node.take(frames.Request)).attempt == attempt
        assert "holdfast.quarantined" in await client.recv()


@pytest.mark.skipif(is_compiled(), reason="changes a method")
@pytest.mark.parametrize(("count", "size", "most"), [(600, 10, 256), (60, 100_000, 11)])
async def test_what_is_parked_leaves_in_slices_and_in_order(monkeypatch, count, size, most):
    async with running(client={"max_in_flight": 1000}) as proxy, websocket(proxy) as client:
        for number in range(count):
            await client.send(f"{number:{size}}")
        await proxy.until(lambda: proxy.app.ledger.parked_count == count)
        turns = Counter()
        unpark = proxy.app.ledger.unpark

        def counted(pool):
            turns[proxy.app.reactor.turns] += 1
            return unpark(pool)

        monkeypatch.setattr(proxy.app.ledger, "unpark", counted)
        with ScriptedNode(proxy.node, capacity=1000) as node:
            await node.join()
            requests = [await node.take(frames.Request) for _ in range(count)]
            assert [int(request.payload) for request in requests] == list(range(count))
        assert max(turns.values()) <= 2 * most, "the ticker may come between"


async def test_capacity_is_credit():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, capacity=2) as node:
            await node.join()
            for number in range(5):
                await client.send(str(number))
            requests = [await node.take(frames.Request), await node.take(frames.Request)]
            await proxy.until(lambda: proxy.app.ledger.parked_count == 3)
            assert not any(isinstance(frame, frames.Request) for frame in node.inbox)
            for request in requests:
                await node.reply(request)
            for _ in range(3):
                await node.reply()
            assert [await client.recv() for _ in range(5)] == list("01234")


async def test_failure_is_a_500_with_the_nodes_message_only():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send('{"requestId":"x"}')
            request = await node.take(frames.Request)
            node.say(frames.Failure(request.id, request.attempt, 500, "internal error (ab12)"))
            answer = await client.recv()
            assert '"status":500' in answer
            assert "internal error (ab12)" in answer


async def test_effects_come_with_the_reply_and_before_it():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("subscribe")
            request = await node.take(frames.Request)
            effects = [frames.Join(request.client, "room"), frames.Notify(b"welcome", True, ["room"])]
            await node.reply(request, b"done", effects)
            assert {await client.recv(), await client.recv()} == {"welcome", "done"}
            assert proxy.app.channels.count("room") == 1


@pytest.mark.parametrize("parts", [[False], [True, False]])
async def test_a_reply_that_says_nothing_settles_its_request(parts):
    """Its effects are done; the client and the node have its place back, for they have one each."""
    sections = {"log": {"access_log": True, "level": "info"}, "client": {"max_in_flight": 1}}
    async with running(**sections) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, capacity=1) as node, capture_logs() as lines:
            await node.join()
            await client.send("hello")
            request = await node.take(frames.Request)
            for more in parts:
                effects = None if more else [frames.Notify(b"done", True, [], frames.pack_ids([request.client]), b"")]
                node.say(frames.Reply(request.id, 1, None, True, more, effects))
            assert await client.recv() == "done"
            await proxy.until(lambda: not len(proxy.app.ledger))
            assert proxy.app.counters.replies == 1
            await client.send("again")
            await node.reply(payload=b"said")
            assert await client.recv() == "said"
    access = [line for line in lines if line["event"] == "request"]
    assert [(line["status"], line["reply_bytes"]) for line in access] == [(200, 0), (200, 4)]


async def test_streamed_reply():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("go")
            request = await node.take(frames.Request)
            for part, more in ((b"a", True), (b"b", True), (b"c", False)):
                node.say(frames.Reply(request.id, 1, part, True, more))
            assert [await client.recv() for _ in range(3)] == ["a", "b", "c"]
            assert len(proxy.app.ledger) == 0


async def test_text_that_is_not_utf8_never_leaves_the_proxy():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send('{"requestId":"x"}')
            await node.reply(payload=b"\xff\xfe")
            assert "holdfast.bad_reply" in await client.recv()


@pytest.mark.parametrize("policy", ["failover", "round-robin", "least-in-flight", "p2c-ewma", "weighted", "sticky"])
async def test_every_policy_serves(policy):
    async with running(balance={"policy": policy}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()

            served = {one.id: 0, two.id: 0}

            async def serve(node):
                while True:
                    await node.reply()
                    served[node.id] += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, one)
                nursery.start_soon(serve, two)
                for number in range(20):
                    await client.send(str(number))
                    assert await client.recv() == str(number)
                nursery.cancel_scope.cancel()
            assert sum(served.values()) == 20
            if policy in ("failover", "sticky"):
                assert sorted(served.values()) == [0, 20]
            if policy == "failover":
                assert served[one.id] == 20
            if policy in ("round-robin", "weighted"):
                assert min(served.values()) >= 5


@pytest.mark.skipif(is_compiled(), reason="derives from a class that is compiled")
async def test_a_policy_that_wants_reply_times_gets_them(monkeypatch):
    told = []

    class Curious(RoundRobin):
        def measured(self, node, seconds):
            told.append((node.id, seconds >= 0))

    monkeypatch.setitem(POLICIES, "round-robin", Curious)
    async with running(balance={"policy": "round-robin"}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("how long?")
            await node.reply()
            await client.recv()
            assert told == [(node.id, True)]


@pytest.mark.parametrize("key", ["field:user", "header:x-user"])
async def test_sticky_by_field_or_header(key):
    async with running(balance={"policy": "sticky", "sticky_key": key}) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            async with websocket(proxy) as a, websocket(proxy) as b:
                for client in (a, b, a, b):
                    await client.send('{"user":"anna"}')
                await proxy.until(lambda: proxy.app.ledger.in_flight == 4)
                counts = sorted(node.in_flight for node in proxy.app.directory)
                assert counts == [0, 4] if key == "field:user" else counts in ([0, 4], [2, 2])


async def test_what_crosses_the_node_link_is_counted():
    async with running() as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("hello")
            await node.reply()
            await client.recv()
            shown = proxy.app.control.metrics().decode()
            values = dict(line.rsplit(" ", 1) for line in shown.splitlines() if not line.startswith("#"))
            for name in ("batches_received", "batches_sent", "frames_received", "frames_sent"):
                assert float(values[f"holdfast_node_{name}_total"]) >= 3
