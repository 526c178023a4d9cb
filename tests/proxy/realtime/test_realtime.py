"""Channels and notifications: who gets what, in which order, and what happens to those that can't keep up."""

import socket

import pytest
import trio

from holdfast.protocols.close import MAX_TEXT_BYTES, Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import pack_ids
from holdfast.proxy.realtime import lanes
from tests.harness import ScriptedNode, client_ids, running, websocket


class Room:
    """A proxy with one node and some clients, by the order in which they came."""

    def __init__(self, proxy, node, clients, ids):
        self.proxy = proxy
        self.node = node
        self.clients = clients
        self.ids = ids

    def join(self, index, channel):
        self.node.do(frames.Join(self.ids[index], channel))

    async def settled(self):
        """What the node has said so far has been carried out."""
        self.node.say(frames.Heartbeat(0.0))
        await self.node.take(frames.Heartbeat)


async def opened(proxy, stack, count):
    clients, ids = [], []
    for _ in range(count):
        before = set(client_ids(proxy))
        clients.append(await stack.enter_async_context(websocket(proxy)))
        await proxy.until(lambda before=before: len(client_ids(proxy)) > len(before))
        ids += set(client_ids(proxy)) - before
    return clients, ids


@pytest.fixture
async def room():
    from contextlib import AsyncExitStack

    async with running() as proxy, AsyncExitStack() as stack:
        clients, ids = await opened(proxy, stack, 3)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            yield Room(proxy, node, clients, ids)


async def said(client, count):
    return [await client.recv() for _ in range(count)]


async def test_notify_reaches_members_only(room):
    room.join(0, "a")
    room.join(1, "a")
    room.node.do(frames.Notify(b"one", True, ["a"]), frames.Broadcast(b"end", True))
    assert await said(room.clients[0], 2) == ["one", "end"]
    assert await said(room.clients[1], 2) == ["one", "end"]
    assert await said(room.clients[2], 1) == ["end"]


async def test_joining_twice_counts_once_and_leaving_once_leaves(room):
    room.join(0, "a")
    room.join(0, "a")
    room.node.do(frames.Notify(b"one", True, ["a"]), frames.Leave(room.ids[0], "a"), frames.Leave(room.ids[0], "a"))
    room.node.do(frames.Notify(b"two", True, ["a"]), frames.Broadcast(b"end", True))
    assert await said(room.clients[0], 2) == ["one", "end"]
    assert len(room.proxy.app.channels) == 0
    assert room.proxy.app.channels.subscriptions == 0


async def test_client_in_two_channels_gets_each_channels_message_once(room):
    room.join(0, "a")
    room.join(0, "b")
    room.join(1, "b")
    room.node.do(frames.Notify(b"x", True, ["a", "b", "none"]), frames.Broadcast(b"end", True))
    assert await said(room.clients[0], 3) == ["x", "x", "end"]
    assert await said(room.clients[1], 2) == ["x", "end"]


@pytest.mark.parametrize("slice", [1, lanes.SLICE])
async def test_with_a_tail_each_channel_gets_its_own_name_in_the_message(room, slice, monkeypatch):
    """Also when one message takes several turns, and when nobody is in a channel."""
    monkeypatch.setattr(lanes, "SLICE", slice)
    room.join(0, "a")
    room.join(0, "ü")
    room.join(1, "ü")
    room.join(1, "a")
    head = "y" * 2 * lanes.BYTES_PER_UNIT
    room.node.do(frames.Notify(b"<", True, ["a", "none", "ü"], tail=b">"))
    room.node.do(frames.Notify(head.encode(), True, ["a", "ü"], tail=b">"), frames.Broadcast(b"end", True))
    big = [f"{head}a>", f"{head}ü>"]
    assert await said(room.clients[0], 5) == ["<a>", "<ü>", *big, "end"]
    assert await said(room.clients[1], 5) == ["<a>", "<ü>", *big, "end"]
    assert await said(room.clients[2], 1) == ["end"]


async def test_notify_by_ids_and_exclude(room):
    room.join(0, "a")
    room.join(1, "a")
    unknown = 12345
    room.node.do(
        frames.Notify(b"x", True, ["a"], exclude=pack_ids([room.ids[0]])),
        frames.Notify(b"y", True, [], pack_ids([room.ids[0], room.ids[2], unknown])),
        frames.Broadcast(b"end", True, pack_ids([room.ids[1]])),
        frames.Broadcast(b"really", True),
    )
    assert await said(room.clients[0], 3) == ["y", "end", "really"]
    assert await said(room.clients[1], 2) == ["x", "really"]
    assert await said(room.clients[2], 3) == ["y", "end", "really"]


async def test_binary_notification_and_text_that_is_not_utf8(room):
    room.node.do(
        frames.Broadcast(b"\xff\x00", False), frames.Broadcast(b"\xff\x00", True), frames.Broadcast(b"end", True)
    )
    assert await said(room.clients[0], 2) == [b"\xff\x00", "end"]


async def test_channels_are_forgotten_with_their_client(room):
    room.join(0, "a")
    room.join(1, "a")
    await room.settled()
    assert room.proxy.app.channels.count("a") == 2
    await room.clients[0].aclose()
    await room.proxy.until(lambda: room.proxy.app.channels.count("a") == 1)
    await room.clients[1].aclose()
    await room.proxy.until(lambda: len(room.proxy.app.channels) == 0)


async def test_close_client_says_kicked_and_the_reason(room):
    from websockets.exceptions import ConnectionClosed

    room.node.do(frames.CloseClient(room.ids[0], "bad manners"), frames.CloseClient(999, "nobody"))
    with pytest.raises(ConnectionClosed) as closed:
        await room.clients[0].recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (Reason.KICKED.websocket, "bad manners")
    [closed] = (await room.node.take(frames.Changes)).changes
    assert closed == frames.Closed(room.ids[0], Reason.KICKED.value)


@pytest.mark.parametrize("reason", ["x" * MAX_TEXT_BYTES, "ü" * 61 + "x"])
async def test_a_reason_comes_whole_if_the_admin_server_takes_it(room, reason):
    from websockets.exceptions import ConnectionClosed

    room.node.do(frames.CloseClient(room.ids[0], reason + "and more"))
    with pytest.raises(ConnectionClosed) as closed:
        await room.clients[0].recv()
    assert closed.value.rcvd.reason == reason
    assert len(reason.encode()) == MAX_TEXT_BYTES


async def test_a_node_chooses_the_close_code(room):
    from websockets.exceptions import ConnectionClosed

    room.node.do(frames.CloseClient(room.ids[0], "too old", 4001))
    with pytest.raises(ConnectionClosed) as closed:
        await room.clients[0].recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "too old")
    [closed] = (await room.node.take(frames.Changes)).changes
    assert closed == frames.Closed(room.ids[0], Reason.KICKED.value)


async def test_order_is_kept_for_members_while_a_large_fan_out_is_in_slices(monkeypatch):
    """Three notifications to 40 clients in slices of 7, with a unicast between: each client sees them in order."""
    from contextlib import AsyncExitStack

    monkeypatch.setattr("holdfast.proxy.realtime.lanes.SLICE", 7)
    async with running() as proxy, AsyncExitStack() as stack:
        clients, ids = await opened(proxy, stack, 40)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.do(*[frames.Join(id, "a") for id in ids])
            node.do(
                frames.Notify(b"1", True, ["a"]),
                frames.Notify(b"2", True, [], pack_ids(ids[::2])),
                frames.Notify(b"3", True, ["a"]),
                frames.Broadcast(b"4", True),
            )
            for index, client in enumerate(clients):
                expected = ["1", "2", "3", "4"] if index % 2 == 0 else ["1", "3", "4"]
                assert await said(client, len(expected)) == expected
            assert proxy.app.lanes.busy == 0


@pytest.mark.parametrize(
    ("limit", "sections"),
    [
        ("client.max_channels", {"client": {"max_channels": 2}}),
        ("realtime.max_channels", {"realtime": {"max_channels": 2}}),
        ("realtime.max_channel_name_bytes", {"realtime": {"max_channel_name_bytes": 4}}),
    ],
)
async def test_channel_limits(limit, sections):
    async with running(**sections) as proxy, websocket(proxy):
        with ScriptedNode(proxy.node) as node:
            await node.join()
            (client,) = client_ids(proxy)
            node.do(frames.Join(client, "a"), frames.Join(client, "b"), frames.Join(client, "ccccc"))
            await proxy.until(lambda: proxy.counters.limits_hit[limit] == 1)
            assert sorted(proxy.app.channels._members) == ["a", "b"]


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(5.0)
    data = b""
    while chunk := connection.recv(1 << 20):
        data += chunk
    return data


def handshake(proxy, receive_buffer=None) -> socket.socket:
    """A WebSocket client of bare bytes, that reads only when the test does."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", proxy.client_port))
    connection.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return connection


async def test_slow_consumer_is_closed_with_1013_and_the_others_get_everything():
    async with (
        running(client={"max_outbox_bytes": 100_000, "close_timeout": 0.5}) as proxy,
        websocket(proxy, max_size=None) as quick,
    ):
        slow = handshake(proxy, receive_buffer=32768)
        with slow, ScriptedNode(proxy.node) as node:
            await proxy.until(lambda: len(proxy.app.registry) == 2)
            await node.join()
            count = 0
            payload = b"x" * 50_000
            while not proxy.counters.slow_consumers:
                node.do(frames.Broadcast(b"%06d" % count + payload, True))
                assert (await quick.recv())[:6] == f"{count:06d}"
                count += 1
                assert count < 1000
            worst = max(c.outbox_bytes for c in proxy.app.clients.connections.values())
            assert worst <= 100_000 + 2 * 51_000
            data = await trio.to_thread.run_sync(read_all, slow)
            assert b"\x03\xf5more than 100000 bytes wait" in data[-60:]  # 1013 and why, after whole frames only
            assert proxy.counters.connections_closed[Reason.SLOW_CONSUMER] == 1
            node.do(frames.Broadcast(b"after", True))
            assert await quick.recv() == "after"


async def test_a_slow_consumer_that_never_reads_is_cut_off_in_the_end():
    async with running(client={"max_outbox_bytes": 10_000, "close_timeout": 0.3, "ping_timeout": 0.5}) as proxy:
        with handshake(proxy, receive_buffer=4096), ScriptedNode(proxy.node) as node:
            await proxy.until(lambda: len(proxy.app.registry) == 1)
            await node.join()
            while not proxy.counters.slow_consumers:
                node.do(frames.Broadcast(b"x" * 200_000, True))
                await trio.sleep(0.005)
            await proxy.until(lambda: not proxy.app.clients.connections)


async def test_who_does_not_read_replies_is_not_read_either():
    """Requests whose replies nobody takes: backpressure to the sender, not memory, and no disconnection."""
    async with running(client={"max_outbox_bytes": 200_000, "max_in_flight": 8}) as proxy:
        connection = handshake(proxy, receive_buffer=32768)
        with connection, ScriptedNode(proxy.node, capacity=100) as node:
            await node.join()
            await proxy.until(lambda: len(proxy.app.registry) == 1)
            frame = b"\x82\xfe\x03\xe8\x00\x00\x00\x00" + b"q" * 1000
            connection.sendall(frame * 300)
            answered = 0
            with trio.move_on_after(1.0) as quiet:
                while True:
                    request = await node.take(frames.Request)
                    await node.reply(request, b"r" * 60_000)
                    answered += 1
                    quiet.deadline = trio.current_time() + 0.5
            (client,) = proxy.app.clients.connections.values()
            assert 100_000 < client.outbox_bytes <= 200_000 // 2 + 2 * 9 * 61_000
            assert proxy.counters.slow_consumers == 0
            assert answered < 150
            # and when it reads again, all goes on
            read = 0
            while read < 50 * 60_000:
                read += len(await trio.to_thread.run_sync(connection.recv, 1 << 20))
                with trio.move_on_after(0):
                    while True:
                        await node.reply()
                        answered += 1
            await proxy.until(lambda: answered > 45)


async def test_who_takes_nothing_at_all_is_let_go_though_we_do_not_read_it():
    async with running(client={"max_outbox_bytes": 100_000, "ping_timeout": 0.5, "ping_interval": 0.5}) as proxy:
        with handshake(proxy, receive_buffer=32768) as connection, ScriptedNode(proxy.node) as node:
            await node.join()
            connection.sendall(b"\x82\xfe\x03\xe8\x00\x00\x00\x00" + b"q" * 1000)
            await node.reply(payload=b"r" * 8_000_000)
            await proxy.until(lambda: proxy.counters.connections_closed[Reason.SLOW_CONSUMER] == 1)
