"""A node of several proxies: effects before the reply, tunnels, whose clients are gone, whose leases count."""

from contextlib import asynccontextmanager

import trio

from holdfast import Node, Reply, links
from protocols.nodes import frames
from tests.holdfast.fake_proxy import PATIENCE, client, fake_proxy, until

ROOM = frames.Notify(b"hello", False, ["room"])


def notifying():
    node = Node("test")

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
        for session in (a, b, c):
            assert await session.take(frames.Effects) == frames.Effects(1, [ROOM], "a", request, 1)
        b.say(frames.Ack(1))
        await settled(b, node)
        await settled(a, node)
        assert a.untaken() == []
        c.say(frames.Ack(1))
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False)


async def test_a_session_that_is_lost_holds_no_reply():
    async with linked_to_three(notifying()) as (a, b, c):
        c.acknowledges = False
        request = a.request(client=1 << 32)
        await c.take(frames.Effects)
        c.proxy.say_raw(c.identity, b"\xc1")
        assert (await a.take(frames.Effects)).request == request
        await a.take(frames.Reply)
        again = await c.proxy.accept()
        await again.take(frames.Hello)
        again.welcome(peers=[a.proxy, b.proxy], keeper="a")
        assert await again.take(frames.Effects) == frames.Effects(1, [ROOM], "a", request, 1)


async def test_effects_that_concern_home_only_go_with_the_reply():
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        for session in (b, c):
            session.say(frames.Mute(["room"]))
            await settled(session, node)
        request = a.request(client=1 << 32)
        assert await a.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [ROOM])
        c.say(frames.Unmute(["room"]))
        await settled(c, node)
        request = a.request(client=1 << 32)
        assert (await a.take(frames.Effects)).request == request
        assert (await c.take(frames.Effects)).request == request
        await a.take(frames.Reply)
        assert b.untaken() == []


async def test_a_later_attempt_is_numbered_though_it_concerns_home_only():
    node = Node("test")

    @node.on_request
    async def handle(request):
        await node.join(request.client, "room")
        return b"done"

    async with linked_to_three(node) as (a, _, _):
        request = a.request(client=1 << 32, attempt=2)
        expected = frames.Effects(1, [frames.Join(1 << 32, "room")], "a", request, 1)
        assert await a.take(frames.Effects) == expected
        assert (await a.take(frames.Reply)).effects is None


async def test_nothing_is_done_for_a_request_that_is_over():
    node = Node("test")

    @node.on_request
    async def handle(request):
        await node.notify(b"late", channels=["room"])
        with trio.move_on_at(request.deadline + 0.01):
            await trio.sleep_forever()
        return b"late"

    async with linked_to_three(node) as (a, b, c):
        a.request(client=1 << 32, timeout=20)
        await a.take(frames.Reply)
        assert [session.untaken() for session in (a, b, c)] == [[], [], []]


async def test_parts_of_a_reply_are_told_apart():
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            for number in range(3):
                await node.notify(str(number), channels=["room"])
                yield str(number)

        return Reply(parts())

    async with linked_to_three(node) as (a, b, _):
        a.request(client=1 << 32)
        told = [await b.take(frames.Effects) for _ in range(2)]
        assert [(frame.part, [effect.payload for effect in frame.effects]) for frame in told] == [
            (1, [b"0", b"1"]),
            (2, [b"2"]),
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


async def test_clients_of_a_lost_proxy_are_closed_when_none_lists_it():
    node = Node("test")
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
    node = Node("test")
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
