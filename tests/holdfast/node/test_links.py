import itertools
import socket
import threading
from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs

from holdfast import ConfigError, HoldfastError, Node
from holdfast.node import backoff, links, session
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until


def make_node():
    node = Node("test", clients=True)

    @node.on_request
    async def handle(request):
        await node.notify(request.payload, channels=["room"])
        return b"done"

    return node


async def test_peers_are_linked_too_and_effects_go_to_all():
    node = make_node()
    with trio.fail_after(PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, fake_proxy("c") as c, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(clients=[client(1)], peers=[b])
            at_b = await b.join(clients=[client(2)], peers=[a], keeper="a")
            at_a.introduce(b, c)
            at_c = await c.join(peers=[a, b], keeper="a")
            await until(lambda: node.statistics().proxies == 3)
            assert sorted(node.clients) == [1, 2]

            notify = frames.Notify(b"now", False, ["room"])
            await node.notify(b"now", channels=["room"])
            for session in (at_a, at_b, at_c):
                assert await session.take(frames.Effects) == frames.Effects(1, [notify])

            request = at_b.request(b"asked", client=2)
            asked = frames.Effects(2, [frames.Notify(b"asked", False, ["room"])], "b", request, 1)
            for session in (at_a, at_b, at_c):
                assert await session.take(frames.Effects) == asked
            assert await at_b.take(frames.Reply) == frames.Reply(request, 1, b"done", False, False, [])
            nursery.cancel_scope.cancel()


async def test_one_proxy_is_lost_and_the_other_goes_on():
    node = make_node()
    with trio.fail_after(PATIENCE):
        async with fake_proxy("a") as a, trio.open_nursery() as nursery:
            async with fake_proxy("b") as b:
                addresses = [a.address, b.address]
                nursery.start_soon(node.run, addresses)
                at_a = await a.join(clients=[client(1)])
                await b.join(clients=[client(2)])
            await until(lambda: node.statistics().proxies == 1)
            at_a.request(client=1)
            await at_a.take(frames.Effects)
            await at_a.take(frames.Reply)
            assert sorted(node.clients) == [1, 2]  # b may have lost only us
            nursery.cancel_scope.cancel()


async def test_two_addresses_of_one_proxy_make_one_link(monkeypatch):
    monkeypatch.setattr(links, "SUCCESSION_TIMEOUT", 0.2)
    node = Node("test", clients=True)
    node.on_request(lambda request: b"done")
    opened, closed = [], []
    node.on_open(lambda client: opened.append(client.id))
    node.on_close(lambda client, reason: closed.append(client.id))
    with trio.fail_after(PATIENCE):
        async with fake_proxy("same") as a, fake_proxy("same") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            await a.join(clients=[client(1)], peers=[frames.Peer("alias", b.address)])
            session = await b.join(clients=[client(1)])
            await until(lambda: node.statistics().proxies == 1)
            session.request(client=1)
            await session.take(frames.Reply)
            assert len(a.sessions) == 1
            # The link in use is lost and comes back: the other one still rests.
            b.say_raw(session.identity, b"\xc1")
            session = await b.join(clients=[client(1)])
            session.request(client=1)
            await session.take(frames.Reply)
            assert len(a.sessions) == 1
            # It is gone for good: now the other one is tried.
            b.socket.unbind(b.address)  # which ends its connections
            session = await a.join(clients=[client(1)])
            session.request(client=1)
            await session.take(frames.Reply)
            assert (opened, closed) == ([1], [])
            nursery.cancel_scope.cancel()


async def test_another_proxy_at_the_same_address():
    node = make_node()
    closed = []
    node.on_close(lambda client: closed.append(client.id), inline=True)
    async with linked(node, clients=[client(1)]) as session:
        proxy = session.proxy
        proxy.id = "another"
        proxy.say_raw(session.identity, b"\xc1")
        await proxy.join(clients=[client(2)])
        assert list(node.clients) == [2]
        assert closed == [1]


async def test_another_proxy_behind_the_address_of_several_proves_nothing():
    """As of a balancer: the one that answered there before is known to be elsewhere."""
    node = make_node()
    closed = []
    node.on_close(lambda client: closed.append(client.id))
    elsewhere = frames.Peer("proxy-1", "tcp://127.0.0.1:1")
    async with linked(node, clients=[client(1)], peers=[elsewhere]) as session:
        proxy = session.proxy
        assert proxy.id == "proxy-1"
        proxy.id = "another"
        proxy.say_raw(session.identity, b"\xc1")
        await proxy.join(clients=[client(2)], peers=[elsewhere])
        assert sorted(node.clients) == [1, 2]
        assert closed == []


async def test_a_proxy_that_says_bye_takes_its_clients_along():
    node = make_node()
    closed = []
    node.on_close(lambda client, reason: closed.append((client.id, reason)))
    async with linked(node, clients=[client(1)]) as session:
        session.say(frames.Bye("the proxy stops"))
        await until(lambda: closed)
        assert closed == [(1, "unknown")]
        assert dict(node.clients) == {}


async def test_another_proxy_takes_the_place_of_one_that_said_bye():
    node = make_node()
    async with linked(node, clients=[client(1)]) as session:
        session.proxy.id = "another"
        session.say(frames.Bye("the proxy stops"))
        again = await session.proxy.join(clients=[client(2)])
        again.request(client=2)
        await again.take(frames.Reply)
        assert list(node.clients) == [2]


async def test_effects_wait_until_a_proxy_is_linked():
    node = make_node()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.accept()
            await session.take(frames.Hello)
            nursery.start_soon(node.broadcast, b"patient")
            await trio.testing.wait_all_tasks_blocked()
            assert session.untaken() == []
            session.welcome()
            await session.take(frames.Ready)
            assert (await session.take_effect(frames.Broadcast)).payload == b"patient"
            nursery.cancel_scope.cancel()


async def test_effects_wait_when_too_much_is_queued_and_then_all_arrives_in_order():
    node = make_node()
    async with linked(node) as session, trio.open_nursery() as nursery:
        done = trio.Event()

        async def send():
            for number in range(100):
                await node.broadcast(number.to_bytes(4, "big") + bytes(1 << 20))
            done.set()

        session.proxy.is_paused = True
        nursery.start_soon(send)
        with trio.move_on_after(0.5):
            await done.wait()
        assert not done.is_set()  # libzmq, the kernel and the outbox hold less than that
        session.proxy.is_paused = False
        for number in range(100):
            assert (await session.take_effect(frames.Broadcast)).payload[:4] == number.to_bytes(4, "big")


async def test_an_effect_larger_than_a_frame_is_refused():
    node = make_node()
    async with linked(node) as session:
        with pytest.raises(HoldfastError, match="at most"):
            await node.broadcast(bytes(16 << 20))
        await node.broadcast(b"small")
        assert (await session.take_effect(frames.Broadcast)).payload == b"small"


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "tcp://127.0.0.1", "carrier-pigeon://x"])
async def test_an_address_that_is_none(address):
    with trio.fail_after(PATIENCE), pytest.raises(ConfigError, match="can't connect"):
        await make_node().run([address])


async def test_a_peer_s_address_that_is_none_harms_nobody():
    async with linked(make_node(), clients=[client()], peers=[frames.Peer("lost", "nonsense")]) as session:
        session.request()
        await session.take(frames.Effects)
        await session.take(frames.Reply)


@pytest.mark.parametrize("join", [[], "tcp://127.0.0.1:7510"])
async def test_what_is_no_list_of_addresses(join):
    with pytest.raises(ConfigError):
        await make_node().run(join)


class Names:
    """What names stand for, as the system has it. silent: nobody answers for these until the end."""

    def __init__(self, monkeypatch):
        self.known = {}
        self.fault = "nobody knows that name"
        self.silent = set()
        self.asked = []
        self.end = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, host, port, *, type):
        self.asked.append(host)
        if host in self.silent:
            self.end.wait(PATIENCE)
        if host not in self.known:
            raise OSError(self.fault)
        return [(None, type, 0, "", (address, port)) for address in self.known[host]]


def at(name, proxy):
    return f"tcp://{name}:{proxy.address.rpartition(':')[2]}"


@asynccontextmanager
async def node_of(*join):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_node().run, join)
        yield
        nursery.cancel_scope.cancel()


async def test_all_that_a_name_stands_for_is_tried_and_asked_for_again_at_each_dial(monkeypatch):
    names = Names(monkeypatch)
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, node_of(at("proxy.test", proxy)):
            await until(lambda: len(names.asked) > 1, "it to be looked up again")
            names.known["proxy.test"] = ["127.0.0.2", "127.0.0.1"]  # nobody is at the first one
            session = await proxy.join()
            asked = len(names.asked)
            proxy.say_raw(session.identity, b"\xc1")
            await proxy.join()
            assert len(names.asked) > asked


async def test_a_name_that_is_not_known_is_one_line_however_often_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(backoff, "delays", lambda: itertools.repeat(0.01))
    names = Names(monkeypatch)
    with capture_logs() as lines:
        async with node_of("tcp://proxy.test:7510"):
            await until(lambda: len(names.asked) > 3, "it to be looked up again")
            names.fault = "the name server is away"
            asked = len(names.asked)
            await until(lambda: len(names.asked) > asked + 3, "it to be looked up again")
    told = [(line["address"], line["error"]) for line in lines if line["event"] == "name_not_found"]
    assert told == [("tcp://proxy.test:7510", why) for why in ("nobody knows that name", "the name server is away")]


async def test_a_name_that_nobody_answers_for_holds_up_no_other(monkeypatch):
    names = Names(monkeypatch)
    names.silent.add("silent.test")
    names.known["proxy.test"] = ["127.0.0.1"]
    try:
        with trio.fail_after(3 * PATIENCE):
            async with fake_proxy() as proxy:
                async with node_of("tcp://silent.test:7510", at("proxy.test", proxy)):
                    await proxy.join()
                    assert "silent.test" in names.asked
                node = make_node()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(node.run, ["tcp://silent.test:7510", proxy.address])
                    await proxy.join()
                    node.drain()  # and it does not wait for the name
    finally:
        names.end.set()


async def test_a_name_that_has_only_an_ipv6_address(monkeypatch):
    names = Names(monkeypatch)
    names.known["proxy.test"] = ["::1"]
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy(address="tcp://[::1]:*") as proxy, node_of(at("proxy.test", proxy)):
            await proxy.join()


@pytest.mark.parametrize("has_left", [False, True])
async def test_a_welcome_that_was_held_up_is_not_believed(monkeypatch, has_left):
    """The direct way is stuck, a tunnel is made, and what was said first arrives last: it knows less."""
    monkeypatch.setattr(links, "TUNNEL_DELAY", 0.05)
    monkeypatch.setattr(session, "WELCOME_TIMEOUT", PATIENCE)
    node = Node("test", clients=True)
    events = []
    node.on_open(lambda client: events.append(client.id))
    node.on_close(lambda client: events.append(-client.id))
    first, second = 2 << 32, (2 << 32) + 1
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            await a.join(peers=[b])
            stuck, passed = await b.accept(), await a.accept()
            passed.say(
                frames.Welcome(1, "b", 0.05, 60.0, 1, [a.peer, b.peer], keeper="a", session=2),
                frames.Clients([client(second)], last=True),
            )
            await until(lambda: events == [second])
            if has_left:
                passed.say(frames.Bye())
                await until(lambda: events == [second, -second])
            before = list(events)
            stuck.welcome(clients=[client(first)], peers=[a], keeper="a", session=1)
            # It is ended. The next one is as any other.
            direct = await b.accept()
            assert events == before
            if not has_left:
                direct.welcome(clients=[client(second)], peers=[a], keeper="a", session=3)
                direct.close(second)
                await until(lambda: events == [second, -second])
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("lasted", [False, True])
async def test_a_link_that_ends_as_soon_as_it_stands_has_back_off_as_one_that_fails(monkeypatch, lasted):
    """Each costs the proxy snapshots, and what ended it may be there again: it was dialled 15 times a second."""
    delays = []
    monkeypatch.setattr(backoff, "pause", lambda delay, begun, now: delays.append(delay) or 0.0)
    if lasted:
        monkeypatch.setattr(backoff, "LASTED", 0.0)
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(Node("test").run, [proxy.address])
            for _ in range(8):
                (await proxy.join()).refuse("no heartbeat")
            await until(lambda: len(delays) >= 8)
            nursery.cancel_scope.cancel()
    assert (max(delays) >= backoff.LONGEST / 2) is not lasted
