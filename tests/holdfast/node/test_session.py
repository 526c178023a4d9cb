import re
import time
from types import SimpleNamespace

import pytest
import structlog
import trio

from holdfast import HoldfastError, LinkRefused, Node
from holdfast.node import session
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from holdfast.protocols.nodes.lateness import Excuse
from tests.holdfast.node.fake_proxy import client, encoded, fake_proxy, linked
from tests.waiting import PATIENCE, until


def echo(**options):
    node = Node("test", clients=True, **options)

    @node.on_request
    async def handle(request):
        return request.payload

    return node


async def assert_works(session):
    session.request(b"ping")
    assert (await session.take(frames.Reply)).payload == b"ping"


async def test_hello_says_what_the_node_is():
    node = Node("chat", id="chat-1", capacity=5, weight=2.5, labels={"zone": "a"}, token="secret")
    async with linked(node) as session:
        hello = session.hello
        assert hello == frames.Hello(
            frames.VERSION,
            "chat-1",
            "chat",
            hello.incarnation,
            5,
            2.5,
            {"zone": "a"},
            hello.pid,
            "secret",
            wants_clients=False,
            host=hello.host,
            started=hello.started,
            takes_requests=False,
            takes_offers=True,
            takes=["publish"],
        )
        assert hello.incarnation > 0
        assert hello.pid > 0


async def test_ready_comes_after_both_snapshots_with_deltas_between_their_pages():
    node = echo()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.accept()
            await session.take(frames.Hello)
            session.say(frames.Welcome(frames.VERSION, "proxy-1", 0.01, 2.0, 10, []))
            session.say(frames.Clients([client(1), client(2)], last=False))
            session.say(frames.Changes(11, [frames.Opened(client(3)), frames.Closed(1, "idle")]))
            session.say(frames.State(0, 0, [], last=False))
            session.say(frames.State(0, 0, [frames.StateItem("k", b"\x01")], last=True))
            await until(lambda: len(session.heartbeats) >= 3)
            assert session.untaken() == []
            session.say(frames.Clients([client(4)], last=True))
            await session.take(frames.Ready)
            assert sorted(node.clients) == [2, 3, 4]
            assert node.state["k"] == 1
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_clients_first", [True, False])
async def test_one_snapshot_alone_makes_no_ready(is_clients_first):
    snapshots = [frames.Clients([], last=True), frames.State(0, 0, [], last=True)]
    if not is_clients_first:
        snapshots.reverse()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(echo().run, [proxy.address])
            session = await proxy.accept()
            await session.take(frames.Hello)
            session.say(frames.Welcome(frames.VERSION, "proxy-1", 0.01, 60.0, 0, []), snapshots[0])
            await until(lambda: len(session.heartbeats) >= 3)
            assert session.untaken() == []
            session.say(snapshots[1])
            await session.take(frames.Ready)
            nursery.cancel_scope.cancel()


async def test_started_when_it_is_ready_at_the_first_proxy():
    node = echo()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            sessions = []

            async def accept():
                sessions.append(await proxy.join())

            nursery.start_soon(accept)
            await nursery.start(node.run, [proxy.address])
            await until(lambda: sessions)
            nursery.cancel_scope.cancel()


async def test_an_async_on_open_is_told_before_ready():
    node = echo()
    go, told = trio.Event(), []

    @node.on_open
    async def opened(client):
        await go.wait()
        told.append(client.id)

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.accept()
            session.welcome(clients=[client(1), client(2)], interval=0.01)
            await until(lambda: len(session.heartbeats) >= 3)
            assert session.untaken() == []
            go.set()
            await session.take(frames.Ready)
            assert told == [1, 2]
            nursery.cancel_scope.cancel()


async def test_ready_does_not_wait_for_ever_for_an_on_open(monkeypatch):
    monkeypatch.setattr(session, "CALLBACKS_TIMEOUT", 0.05)
    node = echo()

    @node.on_open
    async def opened(client):
        await node.state.set("needs", "a keeper, which may not answer")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            joining = await proxy.accept()
            joining.welcome(clients=[client()])
            await joining.take(frames.Propose)
            await joining.take(frames.Ready)
            await assert_works(joining)
            nursery.cancel_scope.cancel()


async def test_an_empty_message_is_a_probe_and_means_nothing():
    async with linked(echo(), clients=[client()]) as session:
        session.proxy.say_raw(session.identity, b"")
        await assert_works(session)


@pytest.mark.parametrize("still", [b"0.4", b"1.0"])
async def test_a_node_that_stood_still_gives_nobody_up_for_it(still):
    node = Node("test")

    @node.on_request(inline=True)
    def handle(request):
        time.sleep(float(request.payload))  # as a handler that does not await
        return b"late"

    async with linked(node, clients=[client()], interval=0.05, timeout=0.3) as here:
        here.request(still)
        assert (await here.take(frames.Reply)).payload == b"late"
        count = len(here.heartbeats)
        await until(lambda: len(here.heartbeats) > count + 2)
        here.request(b"0.0")
        assert (await here.take(frames.Reply)).payload == b"late"


@pytest.mark.parametrize("is_mute", [False, True])
async def test_a_node_that_is_slow_for_long_gives_up_who_is_silent_and_nobody_else(is_mute):
    async def be_slow():
        while True:
            time.sleep(0.2)  # noqa: ASYNC251 - as handlers that do not await
            await trio.lowlevel.checkpoint()

    with structlog.testing.capture_logs() as logs:
        async with (
            linked(Node("test"), clients=[client()], interval=0.05, timeout=0.3) as here,
            trio.open_nursery() as nursery,
        ):
            here.is_mute = is_mute
            nursery.start_soon(be_slow)
            if is_mute:
                await until(lambda: any(line["event"] == "link_lost" for line in logs))
            else:
                count = len(here.heartbeats)
                await until(lambda: len(here.heartbeats) > count + 20)
            nursery.cancel_scope.cancel()
    lost = [line["reason"] for line in logs if line["event"] == "link_lost"]
    assert all("nothing came for" in reason for reason in lost)
    assert bool(lost) is is_mute


@pytest.mark.parametrize("is_heard", [False, True])
def test_what_waits_unread_after_a_standstill_is_read_before_anybody_is_given_up(is_heard):
    ended = []
    pump = SimpleNamespace(send=None, wait_room=None, end=ended.append)
    workers = SimpleNamespace(wake=None)
    here = session.Session(SimpleNamespace(links=None, dispatch=SimpleNamespace(workers=workers)), pump, "address")
    here._patience, here._heartbeat_interval, here._excuse = 2.0, 0.5, Excuse(0.5)
    here.tick(100.0)
    here.receive([], 100.0)
    here.tick(101.0)
    here.tick(101.9)
    here.tick(150.0)
    assert not ended
    if is_heard:
        here.receive([], 150.0)
    here.tick(151.5)  # late again, and judges
    assert bool(ended) is not is_heard


async def test_what_came_before_the_end_of_a_session_is_not_begun_after_it():
    begun = []
    node = Node("test")

    @node.on_request(inline=True)
    def handle(request):
        begun.append(request.payload)

    async with linked(node, clients=[client()]) as session:
        session.request(b"first")
        await session.take(frames.Reply)  # so a worker waits for the next, and would begin it in the same turn
        # In one batch: the node has read both before it begins anything.
        request = frames.Request(2, 7, 1, 10_000, b"for nobody", True, encoded(client()))
        session.say(request, frames.Refused("no heartbeat"))
        again = await session.proxy.join(clients=[client()])
        again.request(b"for somebody")
        await again.take(frames.Reply)
    assert begun == [b"first", b"for somebody"]


async def test_a_node_that_stood_still_says_so_and_blames_no_network():
    node = Node("test")

    @node.on_request(inline=True)
    def handle(request):
        time.sleep(float(request.payload))  # as a handler that does not await
        return b"late"

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()], interval=0.05, timeout=0.3) as session:
            session.request(b"1.0")
            await session.take(frames.Reply)
            session.refuse("no heartbeat")
            await session.proxy.join(clients=[client()], interval=60.0, timeout=120.0)
    [why] = [line["reason"] for line in logs if line["event"] == "link_lost" and "still" in line["reason"]]
    assert re.match(r"this process stood still for [\d.]+ s: stopped, or a handler that does not await", why)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_batch(7, [frames.Heartbeat(0.0)]), "expected batch"),
        (encode_batch(0, [frames.Heartbeat(0.0)]), "expected batch"),
        (b"\xc1", "not a batch"),
        (b"garbage", "not a batch"),
    ],
)
async def test_a_wrong_batch_ends_the_session_and_another_follows(data, reason):
    with structlog.testing.capture_logs() as logs:
        async with linked(echo(), clients=[client()]) as session:
            session.is_mute = True  # its answers would be in the way of the batch's number
            session.proxy.say_raw(session.identity, data)
            again = await session.proxy.join(clients=[client()])
            assert again.identity != session.identity
            assert again.hello.incarnation == session.hello.incarnation
            await assert_works(again)
    assert any(re.search(reason, line["reason"]) for line in logs if line["event"] == "link_lost")


@pytest.mark.parametrize(
    "frame",
    [
        frames.Welcome(frames.VERSION, "proxy-1", 1.0, 60.0, 0, []),
        frames.Changes(5, [frames.Opened(client())]),
        frames.Changes(5, [frames.Closed(1, "idle")]),
        frames.Entry(1, 0, "n", 1, "k", b"\x01"),
    ],
)
async def test_a_frame_out_of_turn_ends_the_session(frame):
    async with linked(echo(), clients=[client()]) as session:
        session.say(frame)
        await assert_works(await session.proxy.join(clients=[client()]))


async def test_a_request_before_ready_ends_the_session():
    node = echo()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.accept()
            session.say(frames.Welcome(frames.VERSION, "proxy-1", 1.0, 60.0, 0, []))
            session.request()
            await proxy.join()
            nursery.cancel_scope.cancel()


async def test_a_proxy_that_is_silent_is_given_up():
    node = echo()
    async with linked(node, clients=[client()], interval=0.02, timeout=0.15) as session:
        session.is_mute = True
        again = await session.proxy.join(clients=[client()])
        await assert_works(again)


async def test_heartbeats_keep_a_quiet_session():
    async with linked(echo(), clients=[client()], interval=0.02, timeout=2.0) as session:
        over = trio.current_time() + 2.5
        await until(lambda: trio.current_time() > over)
        await assert_works(session)
        assert len(session.proxy.sessions) == 1


async def test_refused_is_tried_again():
    async with linked(echo(), clients=[client()]) as session:
        session.proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("no such session")]))
        await assert_works(await session.proxy.join(clients=[client()]))


async def test_refused_for_good_ends_the_node():
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:

            async def refuse():
                session = await proxy.accept()
                proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("wrong token", fatal=True)]))

            nursery.start_soon(refuse)
            with pytest.raises(LinkRefused, match="wrong token"):
                await echo().run([proxy.address])


async def test_a_proxy_of_another_version():
    async with linked(echo()) as session:
        proxy = session.proxy
        proxy.say_raw(session.identity, b"\xc1")
        other = await proxy.accept()
        other.say(frames.Welcome(frames.VERSION + 1, "proxy-1", 1.0, 2.0, 0, []))
        await proxy.join()


async def test_a_lost_session_cancels_its_handlers_and_the_next_one_takes_the_request():
    node = Node("test")
    states = []

    @node.on_request
    async def handle(request):
        states.append(request.attempt)
        if request.attempt > 1:
            return b"done"
        try:
            await trio.sleep_forever()
        finally:
            states.append("cancelled")

    async with linked(node, clients=[client()]) as session:
        session.request(b"x")
        await until(lambda: states == [1])
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.join(clients=[client()])
        again.request(b"x", attempt=2)
        assert (await again.take(frames.Reply)).attempt == 2
        assert sorted(map(str, states)) == ["1", "2", "cancelled"]


async def test_a_handler_that_clings_to_life_does_not_hold_up_the_next_session():
    node = Node("test")
    go = trio.Event()

    @node.on_request
    async def handle(request):
        if request.payload == b"cling":
            with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                await go.wait()
        return request.payload

    async with linked(node, clients=[client()]) as session:
        session.request(b"cling")
        await until(lambda: node.statistics().in_flight)
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.join(clients=[client()])
        await assert_works(again)
        go.set()
        await until(lambda: not node.statistics().in_flight)
        await assert_works(again)
        assert len(session.frames) == 2  # hello and ready: nothing of the late reply


async def test_the_proxy_dies_and_comes_back():
    node = echo()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            async with fake_proxy() as proxy:
                address = proxy.address
                nursery.start_soon(node.run, [address])
                await proxy.join(clients=[client(1)])
            before = trio.current_time()
            await until(lambda: node.statistics().proxies == 0, "the loss to be seen")
            assert trio.current_time() - before < 1.0  # by the connection's end, not by silence
            assert list(node.clients) == [1]
            async with fake_proxy("proxy-1", address) as proxy:
                session = await proxy.join(clients=[client(2)])
                assert list(node.clients) == [2]
                session.request(b"x", client=2)
                await session.take(frames.Reply)
                nursery.cancel_scope.cancel()


async def test_drain_finishes_what_is_here_and_what_was_on_its_way():
    node = Node("test")
    go, seen = trio.Event(), []

    @node.on_request
    async def handle(request):
        seen.append(request.payload)
        if request.payload == b"slow":
            await go.wait()
        return request.payload

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            ended = trio.Event()

            async def run():
                await node.run([proxy.address])
                ended.set()

            nursery.start_soon(run)
            session = await proxy.join(clients=[client()])
            session.request(b"slow")
            await until(lambda: seen == [b"slow"])
            session.is_mute = True
            heartbeats = len(session.heartbeats)
            node.drain()
            await session.take(frames.Drain)
            await until(lambda: len(session.heartbeats) > heartbeats)
            session.request(b"on its way")  # sent before the proxy took the Drain
            session.is_mute = False
            session.say(frames.Heartbeat(session.heartbeats[-1].stamp))
            assert (await session.take(frames.Reply)).payload == b"on its way"
            assert not ended.is_set()
            go.set()
            assert (await session.take(frames.Reply)).payload == b"slow"
            await session.take(frames.Bye)
            await ended.wait()


async def test_a_proxy_is_asked_soon_about_what_is_withheld_but_not_for_each():
    """Else who comes to it from another proxy hears again what was published up to a heartbeat before."""
    node = echo()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(interval=60.0)
            session.say(frames.Mute(["room"], 0.005))
            await until(lambda: node._parts.links.streams._streams[proxy.id].muted)
            heartbeats = len(session.heartbeats)
            for _ in range(100):
                await node.notify(b"x", channels=["room"])
            await until(lambda: not node._parts.links.streams._streams[proxy.id].withheld)
            assert 0 < len(session.heartbeats) - heartbeats <= 10
            stamps = [heartbeat.stamp for heartbeat in session.heartbeats]
            assert stamps == sorted(set(stamps))
            assert not any(isinstance(frame, frames.Effects) for frame in session.frames)
            nursery.cancel_scope.cancel()


async def test_drain_of_an_idle_node_leaves_no_request_behind():
    node = echo()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.is_mute = True
            node.drain()
            await session.take(frames.Drain)
            session.request(b"on its way")  # sent before the proxy took the Drain
            assert (await session.take(frames.Reply)).payload == b"on its way"
            session.is_mute = False
            session.say(frames.Heartbeat(session.heartbeats[-1].stamp))
            await session.take(frames.Bye)


async def test_drain_waits_no_longer_than_its_timeout():
    node = Node("test", drain_timeout=0.1)
    states = []

    @node.on_request
    async def handle(request):
        try:
            await trio.sleep_forever()
        finally:
            states.append("cancelled")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.request()
            await until(lambda: node.statistics().in_flight)
            node.drain()
            await session.take(frames.Drain)
            await session.take(frames.Bye)
            await until(lambda: states)


async def test_drain_waits_until_the_last_replies_are_read():
    """However long that takes: a process that has ended brings nothing any more, and would say nothing of it."""
    node = echo()
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.request(b"the last")
            await session.take(frames.Reply)
            session.is_mute = True
            node.drain()
            await session.take(frames.Drain)
            session.say(frames.Heartbeat(session.heartbeats[-1].stamp))  # that is taken, and no request comes any more
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 4 or session.untaken())
            assert session.untaken() == []
            session.say(frames.Heartbeat(session.heartbeats[-1].stamp))
            await session.take(frames.Bye)


async def test_drain_waits_for_what_is_done_until_the_last_replies_are_read_and_takes_nothing_more():
    """A task of the author's that goes on publishing: what was under way was given up, and clients closed for it."""
    node, late = echo(), trio.Event()
    with trio.fail_after(PATIENCE), structlog.testing.capture_logs() as lines:
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.is_mute, session.acknowledges = True, False
            node.drain()
            await session.take(frames.Drain)
            session.say(frames.Heartbeat(session.heartbeats[-1].stamp))  # no request comes any more
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats)
            await node.notify(b"meanwhile", channels=["room"])
            sent = await session.take(frames.Effects)
            session.say(frames.Heartbeat(session.heartbeats[-1].stamp))  # all replies are read
            await until(lambda: node._parts.links.gate.is_held)

            async def publish():
                with pytest.raises(HoldfastError, match="does not run"):
                    await node.notify(b"too late", channels=["room"])
                late.set()

            nursery.start_soon(publish)
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 2)
            assert session.untaken() == []
            assert not late.is_set()
            session.say(frames.Ack(sent.number, 1000))
            await session.take(frames.Bye)
            await late.wait()
    assert "effects_given_up" not in [line["event"] for line in lines]


async def test_what_was_accepted_is_brought_when_the_time_of_the_drain_is_over_and_nothing_more_taken(monkeypatch):
    """Though a handler goes on: what tasks did last was gone, and what had come was counted as given up."""
    monkeypatch.setattr("holdfast.node.node.LAST_EFFECTS", PATIENCE)
    node, late = Node("test", drain_timeout=0.1), trio.Event()

    @node.on_request
    async def handle(request):
        await trio.sleep_forever()

    with trio.fail_after(PATIENCE), structlog.testing.capture_logs() as lines:
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.acknowledges = False
            session.request()
            await until(lambda: node.statistics().in_flight == 1)
            await node.notify(b"meanwhile", channels=["room"])
            sent = await session.take(frames.Effects)
            node.drain()
            await session.take(frames.Drain)
            await until(lambda: node._parts.links.gate.is_held)

            async def publish():
                with pytest.raises(HoldfastError, match="does not run"):
                    await node.notify(b"too late", channels=["room"])
                late.set()

            nursery.start_soon(publish)
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 2)
            assert not any(isinstance(frame, frames.Bye) for frame in session.frames)
            session.say(frames.Ack(sent.number, 1000))
            await session.take(frames.Bye)
            await late.wait()
    events = [line["event"] for line in lines]
    assert "drain_timeout" in events
    assert "effects_given_up" not in events


async def test_a_proxy_that_takes_nothing_does_not_hold_up_the_end():
    node = Node("test", drain_timeout=0.1)
    node.on_request(lambda request: bytes(1 << 20))
    with trio.fail_after(PATIENCE / 2), structlog.testing.capture_logs() as lines:
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            ended = trio.Event()

            async def run():
                await node.run([proxy.address])
                ended.set()

            nursery.start_soon(run)
            session = await proxy.join(clients=[client()])
            proxy.is_paused = True
            for _ in range(100):  # libzmq and the kernel hold less than that
                session.request(timeout=3_600_000)
            await until(lambda: node.statistics().handled == 100)
            node.drain()
            await ended.wait()  # the proxy may be silent for a minute
            nursery.cancel_scope.cancel()
    assert "drain_timeout" in [line["event"] for line in lines]


async def test_drain_without_a_proxy():
    node = echo()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run, ["tcp://127.0.0.1:1"])
            await trio.testing.wait_all_tasks_blocked()
            node.drain()


async def test_a_node_can_run_again():
    node = echo()
    for _ in range(2):
        with trio.fail_after(PATIENCE):
            async with fake_proxy() as proxy, trio.open_nursery() as nursery:
                nursery.start_soon(node.run, [proxy.address])
                session = await proxy.join(clients=[client()])
                await assert_works(session)
                node.drain()
                await session.take(frames.Drain)
                await session.take(frames.Bye)
        assert len(node.clients) == 1
