"""A node of several proxies: effects before the reply, tunnels, whose clients are gone, whose leases count."""

from contextlib import asynccontextmanager

import structlog
import trio

from holdfast import Node, Reply
from holdfast.node import links
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until

ROOM = frames.Notify(b"hello", False, ["room"])
LATER = frames.Notify(b"later", False, ["room"])


def notifying():
    node = Node("test", clients=True)

    @node.on_request
    async def handle(request):
        await node.notify(request.payload, channels=["room"])
        return b"done"

    return node


@asynccontextmanager
async def linked_to_three(node):
    """Sessions with a, which keeps the state and has client 1 << 32, b and c."""
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, fake_proxy("c") as c, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(clients=[client(1 << 32)], peers=[b, c])
            at_b = await b.join(clients=[client(2 << 32)], peers=[a, c], keeper="a")
            at_c = await c.join(clients=[client(3 << 32)], peers=[a, b], keeper="a")
            yield at_a, at_b, at_c
            nursery.cancel_scope.cancel()


async def settled(session, node):
    """The node has taken what the session said, and what it said to that has come."""
    id = ("abc".index(session.proxy.id) + 1 << 32) + 1000 + len(node.clients)
    session.open(client(id))
    await until(lambda: id in node.clients)
    count = len(session.heartbeats)
    await until(lambda: len(session.heartbeats) > count + 1)


async def test_a_reply_waits_until_the_other_proxies_have_the_effects():
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        b.acknowledges = c.acknowledges = False
        request = a.request(client=1 << 32)
        for session in (a, b, c):  # at once, to home too: so what comes after it comes after it everywhere
            assert await session.take(frames.Effects) == frames.Effects(1, [ROOM], "a", request, 1)
        b.say(frames.Ack(1))
        await settled(b, node)
        await settled(a, node)
        assert a.untaken() == []
        c.say(frames.Ack(1))
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [])


async def test_what_a_task_does_while_the_reply_waits_is_not_lost():
    """It comes too late to go with the reply: so it goes out at once, behind what the reply waits for."""
    node = Node("test", clients=True)
    goes_on, has_gone_on = trio.Event(), trio.Event()

    async def later():
        await goes_on.wait()
        await node.notify(b"later", channels=["room"])
        has_gone_on.set()

    @node.on_request
    async def handle(request):
        tasks.start_soon(later)
        await node.notify(request.payload, channels=["room"])
        return b"done"

    async with trio.open_nursery() as tasks, linked_to_three(node) as (a, b, c):
        b.acknowledges = False
        request = a.request(client=1 << 32)
        assert (await b.take(frames.Effects)).effects == [ROOM]
        goes_on.set()
        await has_gone_on.wait()
        b.say(frames.Ack(1))
        for session in (a, c):
            assert (await session.take(frames.Effects)).effects == [ROOM]
        for session in (a, b, c):
            assert await session.take(frames.Effects) == frames.Effects(2, [LATER])
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [])


async def test_a_node_that_wants_no_clients_is_ready_at_proxies_that_keep_no_state():
    async with linked_to_three(Node("test")) as sessions:
        assert not any(session.hello.wants_clients for session in sessions)


async def test_a_session_that_is_lost_holds_no_reply():
    async with linked_to_three(notifying()) as (a, b, c):
        c.acknowledges = False
        request = a.request(client=1 << 32)
        await c.take(frames.Effects)
        c.proxy.say_raw(c.identity, b"\xc1")
        await a.take(frames.Effects)
        await a.take(frames.Reply)
        again = await c.proxy.accept()
        await again.take(frames.Hello)
        again.welcome(peers=[a.proxy, b.proxy], keeper="a")
        assert await again.take(frames.Effects) == frames.Effects(1, [ROOM], "a", request, 1)


async def test_a_session_that_is_lost_holds_no_flush():
    """As no reply: its proxy has the effects when it is linked again."""
    node = Node("test", clients=True)

    @node.on_request
    async def handle(request):
        await node.notify(b"hello", channels=["room"])
        await request.flush()
        return b"done"

    async with linked_to_three(node) as (a, b, c):
        b.acknowledges = c.acknowledges = False
        a.request(client=1 << 32)
        for session in (a, b, c):
            assert await session.take_effect(frames.Notify) == ROOM
        again = await lose(c)
        await settled(a, node)
        assert a.untaken() == [], "there is one more that has a session"
        b.say(frames.Ack(1))
        await a.take(frames.Reply)
        again.welcome(peers=[a.proxy, b.proxy], keeper="a")
        assert await again.take_effect(frames.Notify) == ROOM


async def test_effects_that_concern_home_only_go_with_the_reply():
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        for session in (b, c):
            session.say(frames.Mute(["room"]))
            await settled(session, node)
        request = a.request(client=1 << 32)
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [ROOM])
        await settled(b, node)
        await settled(c, node)  # a later heartbeat is answered: nobody had joined when that was published
        c.say(frames.Unmute(["room"]))
        await settled(c, node)
        request = a.request(client=1 << 32)
        assert (await c.take(frames.Effects)).request == request
        assert (await a.take(frames.Effects)).request == request
        await a.take(frames.Reply)
        assert b.untaken() == []


async def test_of_a_redelivered_request_all_have_numbers_and_go_everywhere():
    """Another node may have numbered them before: home knows them by these. And who has nobody for them may wait for
    what it has not had from that node."""
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        for session in (b, c):
            session.say(frames.Mute(["room"]))
            await settled(session, node)
        request = a.request(client=1 << 32, attempt=2)
        for session in (a, b, c):
            assert await session.take(frames.Effects) == frames.Effects(1, [ROOM], "a", request, 1)
        assert await a.take(frames.Reply) == frames.Reply(request, 2, b"done", False, False, [])


async def test_so_they_have_where_only_one_proxy_is_known():
    """The other node may have known more of them, and done it by a number."""
    node = notifying()
    async with linked(node, clients=[client(1 << 32)]) as session:
        request = session.request(client=1 << 32, attempt=2)
        assert await session.take(frames.Effects) == frames.Effects(1, [ROOM], "proxy-1", request, 1)
        assert await session.take(frames.Reply) == frames.Reply(request, 2, b"done", False, False, [])
        first = session.request(client=1 << 32)
        assert await session.take(frames.Reply) == frames.Reply(first, 1, b"done", False, False, [ROOM])


async def test_a_reply_waits_for_its_effects_that_find_no_room_at_home():
    node = notifying()
    async with linked_to_three(node) as (a, b, _):
        a.acknowledges = False
        for _ in range(FIRST_WINDOW):
            await node.notify(b"before", channels=["room"])
        request = a.request(client=1 << 32)
        while (await b.take(frames.Effects)).request != request:
            pass
        await settled(b, node)
        await settled(a, node)
        assert {type(frame) for frame in a.untaken()} == {frames.Effects}
        a.say(frames.Ack(1))
        for _ in range(FIRST_WINDOW):
            await a.take(frames.Effects)
        assert (await a.take(frames.Effects)).request == request
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [])


async def test_what_a_redelivered_request_does_is_behind_the_replies_before_it():
    """Its effects have numbers, and theirs go with them: one order all the same, also when there is no room."""
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        for session in (b, c):
            session.say(frames.Mute(["room"]))
            await settled(session, node)
        a.acknowledges = False
        for _ in range(FIRST_WINDOW):
            await node.notify(b"before", channels=["room"])
        for payload, attempt in ((b"1", 2), (b"2", 1), (b"3", 2), (b"4", 1)):
            a.request(payload, client=1 << 32, attempt=attempt)
            await settled(a, node)
        a.say(frames.Ack(FIRST_WINDOW, FIRST_WINDOW))
        payloads = []
        while len(payloads) < FIRST_WINDOW + 4:
            frame = await a.take(frames.Effects | frames.Reply)
            payloads += [effect.payload for effect in frame.effects]
        assert payloads == [b"before"] * FIRST_WINDOW + [b"1", b"2", b"3", b"4"]


async def test_what_was_published_in_the_moment_of_a_first_join_is_not_lost():
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        for session in (b, c):
            session.say(frames.Mute(["room"]))
            await settled(session, node)
        b.is_mute = True  # it answers no heartbeat that was sent after this
        await settled(a, node)
        request = a.request(client=1 << 32)
        await a.take(frames.Reply)
        b.say(frames.Unmute(["room"]))
        assert await b.take(frames.Effects) == frames.Effects(1, [ROOM], "a", request, 1)
        b.is_mute = False
        await settled(b, node)
        assert c.untaken() == []


async def test_effects_on_others_clients_do_not_go_with_the_reply():
    node = Node("test", clients=True)

    @node.on_request
    async def handle(request):
        await node.join(2 << 32, "room")
        return b"done"

    async with linked_to_three(node) as (a, b, _):
        request = a.request(client=1 << 32)
        assert await b.take(frames.Effects) == frames.Effects(1, [frames.Join(2 << 32, "room")], "a", request, 1)
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [])


async def test_nothing_is_done_for_a_request_that_is_over():
    node = Node("test", clients=True)

    @node.on_request
    async def handle(request):
        await node.notify(b"late", channels=["room"])
        with trio.move_on_at(request.deadline + 0.01):
            await trio.sleep_forever()
        return b"late"

    async with linked_to_three(node) as (a, b, c):
        a.request(client=1 << 32, timeout=20)
        await until(lambda: node.statistics().cancelled)
        await settled(a, node)
        assert [session.untaken() for session in (a, b, c)] == [[], [], []]


async def lose(session):
    """The node's session with this proxy ends. Returns what it has of the next one."""
    session.proxy.say_raw(session.identity, b"\xc1")
    again = await session.proxy.accept()
    await again.take(frames.Hello)
    return again


async def test_a_node_that_leaves_brings_what_a_link_that_broke_has_not_taken():
    """In a session that asks for no requests: Drain in place of Ready."""
    node = Node("test", clients=True)
    async with linked_to_three(node) as (a, b, c):
        again = await lose(b)
        await node.notify(b"hello", channels=["room"])
        await c.take(frames.Effects)
        node.drain()
        await c.take(frames.Drain)
        again.welcome(clients=[client(2 << 32)], peers=[a.proxy, c.proxy], keeper="a")
        assert await again.take_effect(frames.Notify) == ROOM
        await again.take(frames.Drain)
        await again.take(frames.Bye)
        assert await a.take_effect(frames.Notify) == ROOM
        await a.take(frames.Drain)
        await a.take(frames.Bye)


async def test_a_node_that_leaves_does_not_wait_for_a_proxy_that_has_no_clients_any_more():
    node = Node("test", clients=True)
    async with linked_to_three(node) as (a, b, c):
        await lose(b)
        await node.notify(b"hello", channels=["room"])
        await c.take(frames.Effects)
        node.drain()
        await c.take(frames.Drain)
        await settled(c, node)
        assert c.untaken() == []
        a.introduce(c.proxy)
        c.introduce(a.proxy)
        await c.take(frames.Bye)


async def test_a_node_that_leaves_waits_for_a_proxy_of_which_the_last_one_has_not_heard():
    """The one that is linked follows a set of members of before: that it does not list the other tells nothing."""
    node = Node("test", clients=True)
    async with linked_to_three(node) as (a, b, c):
        a.introduce(b.proxy, ballot=2)
        b.introduce(a.proxy, c.proxy, ballot=3)
        await settled(a, node)
        await settled(b, node)
        await lose(c)
        await node.notify(b"hello", channels=["room"])
        await b.take(frames.Effects)
        await settled(b, node)
        await lose(b)
        assert 3 << 32 in node.clients
        node.drain()
        await a.take(frames.Effects)
        await a.take(frames.Drain)
        await settled(a, node)
        assert a.untaken() == []
        a.introduce(b.proxy, ballot=3)
        await a.take(frames.Bye)


async def test_what_an_operator_drains_at_one_proxy_the_node_tells_all_for_the_rest_of_its_run():
    """At once, in each later session from its hello on, and before Ready where the hello was said before."""
    node = Node("test", clients=True)
    with structlog.testing.capture_logs() as lines:
        async with linked_to_three(node) as (a, b, c):
            hesitates = await lose(c)
            a = await lose(a)
            a.welcome(clients=[client(1 << 32)], interval=1000.0)  # no heartbeat is due there
            await a.take(frames.Ready)
            b.is_drained = True
            for session in (a, b):
                await until(lambda: session.heartbeats and session.heartbeats[-1].is_drained, "it to be told")  # noqa: B023
            assert not hesitates.hello.is_drained
            hesitates.welcome(clients=[client(3 << 32)], keeper="a")
            await hesitates.take(frames.Ready)
            assert hesitates.told_before_ready.is_drained
            again = await lose(b)
            assert again.hello.is_drained
            again.welcome(clients=[client(2 << 32)], keeper="a")
            await again.take(frames.Ready)
            assert again.told_before_ready.is_drained
            again.request(b"on its way", client=2 << 32)
            await again.take(frames.Failure)  # what comes all the same is answered
    assert [line["proxy"] for line in lines if line["event"] == "drained_by_operator"] == ["b"]


async def test_who_ends_by_itself_says_so_in_each_hello():
    node = Node("test", clients=True)
    go = trio.Event()

    @node.on_request
    async def handle(request):
        await go.wait()

    async with linked_to_three(node) as (a, b, c):
        a.request(b"slow", client=1 << 32)
        node.drain()
        for session in (a, b, c):
            await session.take(frames.Drain)
        assert (await lose(b)).hello.is_drained
        go.set()


async def test_parts_of_a_reply_are_told_apart():
    node = Node("test", clients=True)

    @node.on_request
    async def handle(request):
        async def parts():
            for number in range(3):
                await node.notify(str(number), channels=["room"])
                yield str(number)

        return Reply(parts())

    async with linked_to_three(node) as (a, b, _):
        a.request(client=1 << 32)
        told = [await b.take(frames.Effects) for _ in range(3)]
        assert [(frame.part, [effect.payload for effect in frame.effects]) for frame in told] == [
            (1, [b"0"]),
            (2, [b"1"]),
            (3, [b"2"]),
        ]


async def test_a_proxy_that_can_not_be_reached_is_linked_through_another(monkeypatch):
    monkeypatch.setattr(links, "TUNNEL_DELAY", 0.05)
    node = notifying()
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy("a") as a, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(clients=[client(1 << 32)], peers=[frames.Peer("b", "tcp://127.0.0.1:1")])
            await node.notify(b"early", channels=["room"])
            await at_a.take(frames.Effects)
            passed = await a.accept()
            await passed.take(frames.Hello)
            assert passed.via == "b"
            # What the proxy in between passes on is a session like any other.
            passed.say(
                frames.Welcome(1, "b", 0.05, 2.0, 0, [a.peer], keeper="a"),
                frames.Clients([client(2 << 32)], last=True),
            )
            early = await passed.take(frames.Effects)
            assert early.effects[0].payload == b"early"
            await passed.take(frames.Ready)
            passed.request(client=2 << 32)
            await passed.take(frames.Effects)
            assert (await passed.take(frames.Reply)).payload == b"done"
            # It is there by itself: its own link takes the place of that one, and goes on where it ended.
            async with fake_proxy("b") as b:
                at_a.introduce(b)
                direct = await b.join(clients=[client(2 << 32)], peers=[a], keeper="a", seen=early.number + 1)
                await node.notify(b"direct", channels=["room"])
                assert (await direct.take(frames.Effects)).effects[0].payload == b"direct"
                assert node.statistics().proxies == 2
                assert sorted(node.clients) == [1 << 32, 2 << 32]
            nursery.cancel_scope.cancel()


async def test_every_heartbeat_tells_the_highest_epoch_of_whichever_proxy():
    async with linked_to_three(Node("test")) as (a, b, _):
        assert b.heartbeats[-1].epoch == 0
        a.say(frames.Master("other", 7))
        await until(lambda: b.heartbeats[-1].epoch == 7)


async def test_clients_of_a_lost_proxy_are_closed_when_none_lists_it():
    node = Node("test", clients=True)
    closed = []
    node.on_close(lambda client: closed.append(client.id))
    async with linked_to_three(node) as (a, b, c):
        c.proxy.socket.unbind(c.proxy.address)
        await until(lambda: node.statistics().proxies == 2)
        dead = frames.Peer("c", c.proxy.address, False)
        b.introduce(a.proxy, dead)
        a.introduce(b.proxy)
        await settled(a, node)
        await settled(b, node)
        assert closed == []
        b.introduce(a.proxy)
        await until(lambda: closed)
        assert closed == [3 << 32]


async def test_leases_of_more_than_half_make_a_master():
    node = Node("test", clients=True)
    begun = trio.Event()

    @node.on_master
    async def lead():
        begun.set()
        await trio.sleep_forever()

    async with linked_to_three(node) as sessions:
        for session in sessions:
            session.ballot, session.quorum = 5, 2
            session.say(frames.Master(node.id, 7, "" if session is sessions[0] else "a"))
        sessions[0].epoch, sessions[0].lease = 7, 0.5
        await settled(sessions[0], node)
        assert not node.is_master
        sessions[2].epoch, sessions[2].lease = 7, 0.5
        await begun.wait()
        assert node.is_master
        sessions[0].lease = 0.0
        await until(lambda: not node.is_master)


async def test_what_was_done_while_a_proxy_was_away_is_no_larger_than_it_takes():
    """A hole closes its clients there, once. A batch that is too long would end each session with it, for a minute."""
    node = Node("test", clients=True)
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(peers=[b])
            await node.notify(b"1", channels=["room"])
            await node.notify(bytes(200_000), channels=["room"])
            await node.notify(b"3", channels=["room"])
            at_b = await b.accept()
            at_b.welcome(peers=[a], keeper="a", max_batch_bytes=100_000)
            assert [(await at_a.take(frames.Effects)).number for _ in range(3)] == [1, 2, 3]
            assert (await at_b.take(frames.Effects)).number == 1
            assert (await at_b.take(frames.Hole)).number == 2
            assert (await at_b.take(frames.Effects)).number == 3
            nursery.cancel_scope.cancel()
