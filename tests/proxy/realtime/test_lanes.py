"""Lanes: in order, to the end, and in turns that stay short whatever a batch holds."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import pack_ids
from holdfast.proxy.process.build import is_compiled
from holdfast.proxy.realtime import lanes
from holdfast.proxy.realtime.effects import MAX_WINDOW, TOLERANCE
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.still import StillProxy


@asynccontextmanager
async def crowd(count, nodes=1, **sections):
    """A proxy, ready nodes, clients, and their ids in the order in which they came."""
    async with running(**sections) as proxy, AsyncExitStack() as stack:
        clients = []
        for number in range(count):
            clients.append(await stack.enter_async_context(websocket(proxy, max_queue=None)))
            await proxy.until(lambda number=number: len(client_ids(proxy)) == number + 1)
        scripted = [stack.enter_context(ScriptedNode(proxy.node)) for _ in range(nodes)]
        for node in scripted:
            await node.join()
        yield proxy, scripted, clients, client_ids(proxy)


def tell(text):
    return frames.Broadcast(text.encode(), True)


async def said(client, count):
    return [await client.recv() for _ in range(count)]


@pytest.fixture
def slices(monkeypatch):
    """Turns are short. Returns the deliveries that each of them made, once there were any."""
    monkeypatch.setattr(lanes, "SLICE", 4)
    made = []
    if is_compiled():  # its methods can't be changed
        return made
    step = lanes.Lanes.step

    def counted(self, now):
        before = self._counters.deliveries
        more = step(self, now)
        made.append(self._counters.deliveries - before)
        return more

    monkeypatch.setattr(lanes.Lanes, "step", counted)
    return made


# --- order ----------------------------------------------------------------------------------------------------------


async def test_the_reply_comes_after_its_effects_have_reached_everybody(slices):
    async with crowd(30) as (proxy, [node], clients, ids):
        node.do(*(frames.Join(id, "room") for id in ids))
        await clients[-1].send("go")
        await node.reply(payload=b"reply", effects=[frames.Notify(b"news", True, ["room"])])
        assert await said(clients[-1], 2) == ["news", "reply"]
        for client in clients[:-1]:
            assert await client.recv() == "news"
        assert len(proxy.app.ledger) == 0
        assert not proxy.app.dispatch.late


@pytest.mark.parametrize("exclude", [(), (3,)], ids=["nobody", "one"])
async def test_who_leaves_hears_no_more_of_what_is_under_way(monkeypatch, exclude):
    """By another node's lane, which has its turn between two slices."""
    monkeypatch.setattr(lanes, "SLICE", 4)
    proxy = StillProxy()
    try:
        clients = [proxy.client() for _ in range(40)]
        one, two = proxy.join("one"), proxy.join("two")
        one.say(frames.Effects(1, [frames.Join(each.id, name) for each in clients for name in ("room", "hall")]))
        proxy.settle()
        excluded = pack_ids([clients[number].id for number in exclude])
        one.say(frames.Effects(2, [frames.Notify(b"news", True, ["room", "hall"], exclude=excluded), tell("end")]))
        proxy.turn()
        first, *_, last = clients
        assert (first.heard, last.heard) == (["* news"], [])
        two.say(frames.Effects(1, [frames.Leave(each.id, "room") for each in (first, last)]))
        proxy.settle()
        assert last.heard == ["* news", "* end"], "that of the hall"
        for number, client in enumerate(clients[:-1]):
            assert client.heard == (["* end"] if number in exclude else ["* news", "* news", "* end"])
        assert proxy.counters.deliveries == sum(len(each.heard) for each in clients)
    finally:
        proxy.close()


async def test_who_leaves_while_its_own_message_is_under_way_gets_that(monkeypatch):
    """It is for the client, and not for the channel."""
    monkeypatch.setattr(lanes, "SLICE", 4)
    proxy = StillProxy()
    try:
        clients = [proxy.client() for _ in range(40)]
        one, two = proxy.join("one"), proxy.join("two")
        one.say(frames.Effects(1, [frames.Join(each.id, "room") for each in clients]))
        proxy.settle()
        one.say(frames.Effects(2, [frames.Notify(b"news", True, [], pack_ids([each.id for each in clients]))]))
        proxy.turn()
        assert clients[-1].heard == []
        two.say(frames.Effects(1, [frames.Leave(clients[-1].id, "room")]))
        with capture_logs() as lines:
            proxy.settle()
        assert [each.heard for each in clients] == [["* news"]] * 40
        assert "effect_crashed" not in [line["event"] for line in lines]
    finally:
        proxy.close()


async def test_who_comes_and_leaves_after_a_channel_had_nobody_harms_nothing(monkeypatch):
    monkeypatch.setattr(lanes, "SLICE", 4)
    proxy = StillProxy()
    try:
        client, one, two = proxy.client(), proxy.join("one"), proxy.join("two")
        one.say(frames.Effects(1, [frames.Notify(b"news", True, ["room"] * 20), tell("end")]))
        proxy.turn()
        two.say(frames.Effects(1, [frames.Join(client.id, "room"), frames.Leave(client.id, "room")]))
        with capture_logs() as lines:
            proxy.settle()
        assert client.heard == ["* end"]
        assert "effect_crashed" not in [line["event"] for line in lines]
    finally:
        proxy.close()


async def test_last_words_are_delivered_before_the_close(slices):
    async with crowd(12) as (_, [node], clients, ids):
        node.say(node.numbered(tell("1"), frames.Notify(b"2", True, [], pack_ids(ids)), *map(frames.CloseClient, ids)))
        for client in clients:
            assert await said(client, 2) == ["1", "2"]
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd.code == 1008


async def test_who_gets_it_is_decided_when_it_is_its_turn(slices):
    async with crowd(12) as (_, [node], clients, ids):
        node.do(tell("1"), frames.Join(ids[0], "a"), frames.Notify(b"2", True, ["a"]), frames.Leave(ids[0], "a"))
        node.do(frames.Notify(b"3", True, ["a"]), tell("end"))
        assert await said(clients[0], 3) == ["1", "2", "end"]
        assert await said(clients[1], 2) == ["1", "end"]


async def test_the_acknowledgement_comes_when_it_is_done(slices):
    async with crowd(12) as (proxy, [node], _, _):
        done = []
        send = type(proxy.app.effects).answer

        def answer(self):
            done.extend((lane.done, proxy.counters.deliveries) for lane in self.lanes.unanswered)
            send(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(proxy.app.effects), "answer", answer)
            node.do(*(tell(str(number)) for number in range(1, 9)))
            while (await node.take(frames.Ack)).number < 8:
                pass
        assert all(deliveries >= 12 * number for number, deliveries in done)


async def test_parts_of_a_reply_stay_in_order_though_only_the_first_has_effects(slices):
    async with crowd(12) as (_, [node], clients, _):
        await clients[0].send("go")
        request = await node.take(frames.Request)
        node.say(
            frames.Reply(request.id, 1, b"1", True, True, [tell("news")]),
            frames.Reply(request.id, 1, b"2", True, True),
            frames.Reply(request.id, 1, b"3", True),
        )
        assert await said(clients[0], 4) == ["news", "1", "2", "3"]


async def test_a_failure_comes_after_the_parts_before_it(slices):
    async with crowd(12) as (proxy, [node], clients, _):
        await clients[0].send("go")
        request = await node.take(frames.Request)
        node.say(
            frames.Reply(request.id, 1, b"1", True, True, [tell("news")]), frames.Failure(request.id, 1, 500, "broken")
        )
        assert await said(clients[0], 2) == ["news", "1"]
        assert "broken" in await clients[0].recv()
        assert not proxy.app.dispatch.late


# --- nobody waits for another ---------------------------------------------------------------------------------------


async def test_the_next_master_waits_until_what_came_of_the_former_one_is_done_and_nobody_else_does(monkeypatch):
    monkeypatch.setattr(lanes, "SLICE", 4)
    proxy = StillProxy()
    try:
        clients = [proxy.client() for _ in range(12)]
        one, two, three = (proxy.join(id) for id in ("one", "two", "three"))
        proxy.effects._heeds = lambda node, epoch: True
        one.say(frames.Effects(1, [frames.AsMaster(1, [tell(f"1 {number}") for number in range(3)])]))
        two.say(frames.Effects(1, [frames.AsMaster(2, [tell("2")])]), frames.Effects(2, [tell("behind it")]))
        three.say(frames.Effects(1, [tell("else")]))
        proxy.settle()
        heard = clients[-1].heard
        assert [line for line in heard if line != "* else"] == ["* 1 0", "* 1 1", "* 1 2", "* 2", "* behind it"]
        assert heard.index("* else") < heard.index("* 1 2")
        assert not proxy.lanes._of_masters
    finally:
        proxy.close()


async def test_a_turn_is_short_whatever_a_batch_holds_and_others_are_served_meanwhile(slices):
    async with crowd(10, nodes=2) as (proxy, [busy, idle], clients, _):
        busy.say(busy.numbered(*(tell(str(number)) for number in range(300))))
        await proxy.until(lambda: proxy.app.lanes.busy)
        idle.do(frames.Notify(b"from the other", True, [], pack_ids(client_ids(proxy)[:1])))
        proxy.app.gateway.drain(next(node for node in proxy.app.directory if node.id == busy.id))
        await clients[0].send("go")
        await idle.reply(payload=b"reply")
        heard = []
        while len(heard) < 302:
            heard.append(await clients[0].recv())
        assert heard.index("reply") < 200
        assert heard.index("from the other") < 200
        assert [text for text in heard if text.isdigit()] == [str(number) for number in range(300)]
        assert max(slices, default=0) <= 4


@pytest.mark.skipif(is_compiled(), reason="changes a method")
@pytest.mark.parametrize(
    "effects",
    [
        [frames.Notify(b"x", True, [f"nobody {number}" for number in range(200)])],
        [frames.Notify(b"x", True, [], pack_ids(range(1000)))],
        [frames.Notify(b"x", True, [])] * 200,
        [frames.Join(5, "nobody's")] * 200,
        [frames.Leave(5, "nobody's")] * 200,
        [frames.CloseClient(5)] * 200,
        [frames.Broadcast(b"x", True)] * 200,
        [frames.Broadcast(b"x", True, pack_ids(range(1 << 14)))] * 5,
        [frames.Notify(b"x", True, [], b"", pack_ids(range(1 << 14)))] * 5,
    ],
    ids=["channels", "clients", "nothing", "joins", "leaves", "closes", "broadcasts", "excluded", "excluded of some"],
)
async def test_what_reaches_nobody_takes_its_turns_too(effects):
    async with crowd(0) as (proxy, [node], _, _):
        steps = 0
        step = proxy.app.lanes._go_on

        def counted(lane):
            nonlocal steps
            steps += 1
            return step(lane)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lanes, "SLICE", 4)
            patch.setattr(proxy.app.lanes, "_budget", 0)
            patch.setattr(proxy.app.lanes, "_go_on", counted, raising=False)
            node.say(frames.Effects(1, effects, "home"))
            await node.take(frames.Ack)
        assert steps >= (4 if len(effects) < 5 else min(50, len(effects)))


async def test_a_leave_costs_the_turn_what_it_looks_through(monkeypatch):
    """What other nodes have under way: there may be as many of them as there are nodes."""
    monkeypatch.setattr(lanes, "SLICE", 8)
    monkeypatch.setattr(lanes, "EXCLUDED_PER_UNIT", 1)
    proxy = StillProxy()
    try:
        client, *others = [proxy.client(), *(proxy.join(id) for id in ("one", "two", "three"))]
        leaver = proxy.join("leaver")
        leaver.say(frames.Effects(1, [frames.Join(client.id, str(number)) for number in range(10)]))
        proxy.settle()
        before = proxy.lane("leaver").average
        for other in others:
            other.say(frames.Effects(1, [frames.Notify(b"", True, ["nobody"] * 1000)]))
        proxy.turn()
        leaver.say(frames.Effects(2, [frames.Leave(client.id, str(number)) for number in range(10)]))
        while proxy.lane("leaver").done < 2:
            assert proxy.turn()
        assert proxy.lane("leaver").average == before + (10 * (1 + len(others)) - before) / 8
    finally:
        proxy.close()


async def test_what_waits_is_done_though_its_node_is_gone(slices):
    async with crowd(10) as (proxy, [node], clients, _):
        await clients[0].send("go")
        request = await node.take(frames.Request)
        node.say(node.numbered(*(tell(str(number)) for number in range(40))))
        await node.reply(request, payload=b"reply", effects=[tell("with the reply")])
        node.say(frames.Bye())
        await proxy.until(lambda: not len(proxy.app.directory))
        assert proxy.app.lanes.busy
        expected = [*map(str, range(40)), "with the reply"]
        assert await said(clients[0], 42) == [*expected, "reply"]
        assert await said(clients[1], 41) == expected
        assert len(proxy.app.ledger) == 0


async def test_a_part_that_waits_does_not_count_when_the_rest_can_not_come(slices):
    async with crowd(10, nodes=2) as (proxy, [node, other], clients, _):
        await clients[0].send("go")
        with trio.move_on_after(0.05):
            request = await node.take(frames.Request)
        if not any(isinstance(frame, frames.Request) for frame in node.frames):
            node, other = other, node
            request = await node.take(frames.Request)
        node.say(node.numbered(*(tell(str(number)) for number in range(40))))
        node.say(frames.Reply(request.id, 1, b"part", True, True, [tell("with the part")]))
        node.say(frames.Bye())
        again = await other.take(frames.Request)
        assert again.attempt == 2
        await other.reply(again, payload=b"reply")
        heard = await said(clients[0], 41)
        assert sorted(heard) == sorted([*map(str, range(40)), "reply"])
        await proxy.until(lambda: not proxy.app.lanes.busy)
        assert not proxy.app.dispatch.late


@pytest.mark.skipif(is_compiled(), reason="changes a method")
async def test_a_reply_that_waits_for_too_long_is_none_and_leaves_no_trace(slices):
    async with crowd(4, request={"timeout": 0.3}) as (proxy, [node], clients, _):
        await clients[0].send("go")
        request = await node.take(frames.Request)
        lane = proxy.app.effects._of[node.id]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(proxy.app.lanes), "step", lambda self, now: False)  # it is as if there was much to do
            lane.is_busy = True
            proxy.app.lanes._busy.append(lane)
            await node.reply(request, effects=[tell("late")])
            assert "504" in await clients[0].recv()
        node.do(tell("end"))
        assert await clients[1].recv() == "end"
        assert proxy.counters.stale_replies == 1
        assert not proxy.app.dispatch.late


# --- bad ones, and too many -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "effect",
    [
        frames.Notify(b"x", True, [], bytes(3)),
        frames.Notify(b"x", True, [], b"", bytes(9)),
        frames.Broadcast(b"", True, bytes(1)),
    ],
)
async def test_a_reply_whose_effects_are_bad_is_none_and_the_request_is_answered(effect):
    async with crowd(1, nodes=2) as (_, [first, second], [client], _):
        await client.send("go")
        with trio.move_on_after(0.05):
            await first.hear()
        bad, good = (first, second) if any(isinstance(f, frames.Request) for f in first.frames) else (second, first)
        await bad.reply(payload=b"bad", effects=[tell("not done"), effect])
        assert "multiple of 8" in (await bad.take(frames.Refused)).reason
        request = await good.take(frames.Request)
        assert request.attempt == 2
        await good.reply(request, payload=b"good", effects=[tell("done")])
        assert await said(client, 2) == ["done", "good"]


async def test_who_ignores_the_window_by_far_ends_its_session(slices):
    async with crowd(4) as (proxy, [node], _, _):
        for _ in range(3 * TOLERANCE):
            node.do(*(tell("x") for _ in range(MAX_WINDOW // 2)))
        assert "without acknowledgement" in (await node.take(frames.Refused)).reason
        assert proxy.counters.limits_hit["realtime.max_unacknowledged_bytes"] == 1


async def test_who_ignores_the_limit_of_bytes_by_far_ends_its_session(slices):
    async with crowd(4, realtime={"max_unacknowledged_bytes": 10_000}) as (_, [node], _, _):
        node.do(*(frames.Broadcast(bytes(1000), False) for _ in range(60)))
        assert "without acknowledgement" in (await node.take(frames.Refused)).reason


async def test_holes_are_bounded_too(slices):
    async with crowd(1) as (proxy, [node], _, _):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(proxy.app.lanes), "step", lambda self, now: False)
            proxy.app.lanes._budget = 0
            node.say(*map(frames.Hole, range(1, TOLERANCE * MAX_WINDOW + 2)))
            assert "without acknowledgement" in (await node.take(frames.Refused)).reason


async def test_replies_whose_effects_have_no_room_are_refused(slices):
    async with crowd(6, realtime={"max_unacknowledged_bytes": 1000}) as (proxy, [node], clients, _):
        for client in clients:
            await client.send("go")
        requests = [await node.take(frames.Request) for _ in clients]
        by_id = dict(zip(client_ids(proxy), clients, strict=True))
        node.say(
            *(
                frames.Reply(request.id, 1, b"reply", True, False, [frames.Broadcast(b"b" * 2500, True)])
                for request in requests
            )
        )
        last = by_id[requests[-1].client]
        heard = await said(last, 3)
        assert any('"status":503' in text.replace(" ", "") for text in heard)
        assert proxy.counters.limits_hit["realtime.max_unacknowledged_bytes"] == 4


async def test_the_window_is_what_half_a_second_of_deliveries_takes(monkeypatch):
    monkeypatch.setattr("holdfast.proxy.realtime.effects.TARGET_DELIVERIES", 200)
    async with crowd(10) as (_, [node], _, ids):
        node.say(frames.Effects(1, [tell("x")], "home"))
        assert (await node.take(frames.Ack)).window == 20
        node.say(*(frames.Effects(number, [frames.Join(ids[0], "a")], "home") for number in range(2, 60)))
        assert (await node.take(frames.Ack)).window > 100
        node.say(frames.Effects(60, [tell("x")] * 20, "home"))
        assert (await node.take(frames.Ack)).window == 8


async def test_one_that_crashes_harms_nobody_else(monkeypatch):
    async with crowd(1) as (proxy, [node], [client], [id]):
        join = type(proxy.app.channels).join

        def broken(self, client, channel, version):
            if channel == "broken":
                raise RuntimeError("a fault of ours")
            return join(self, client, channel, version)

        monkeypatch.setattr(type(proxy.app.channels), "join", broken)
        node.say(node.numbered(frames.Join(id, "broken"), frames.Join(id, "a"), frames.Notify(b"news", True, ["a"])))
        assert await client.recv() == "news"
        assert len(proxy.app.directory) == 1


# --- credit for replies in parts ------------------------------------------------------------------------------------


async def test_a_node_is_told_what_of_a_reply_in_parts_is_taken():
    async with crowd(1, node={"max_untaken_bytes": 1000}) as (_, [node], [client], _):
        await client.send("go")
        request = await node.take(frames.Request)
        node.say(*(frames.Reply(request.id, 1, b"x" * 100, True, True) for _ in range(7)))
        for _ in range(2):
            assert await node.take(frames.Taken) == frames.Taken(request.id, 1, 300)
        node.say(frames.Reply(request.id, 1, b"end", True))
        assert (await said(client, 8))[-1] == "end"
        assert not any(isinstance(frame, frames.Taken) for frame in node.inbox)


async def test_nothing_is_told_as_taken_of_a_reply_that_is_over():
    """The client takes it late, when the node has ended it."""
    async with crowd(0) as (proxy, [node], _, _):
        connection = await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
        async with connection:
            await connection.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            request = await node.take(frames.HttpRequest)
            node.say(
                frames.HttpReply(request.id, 1, bytes(8 << 20), more=True), frames.HttpReply(request.id, 1, b"end")
            )
            received = b""
            while b"end\r\n0\r\n\r\n" not in received[-20:]:
                received += await connection.receive_some(1 << 20)
            await proxy.until(lambda: not any(c.outbox_bytes for c in proxy.app.clients.connections.values()))
        assert not any(isinstance(frame, frames.Taken) for frame in node.frames)
