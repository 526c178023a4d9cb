"""What nodes are told, and what not, and in how many frames. Nodes are at memory links: real frames, no sockets."""

import pytest

from holdfast.balancer.links.memory import MemoryHub
from holdfast.protocols.clients.events import Message
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.proxy.app import App
from holdfast.proxy.process.build import is_compiled
from tests.harness import ScriptedNode, client_ids, configure, running, websocket

pytestmark = pytest.mark.skipif(is_compiled(), reason="has stand-ins for sessions")


class Client:
    """A connection, as far as it is announced or asks something."""

    address = "192.0.2.1:5"
    is_session = True
    is_closed = False

    def __init__(self, id):
        self.id = id
        self.info = frames.Client(id, "websocket", self.address, "/", [("host", f"host-{id}")])


class NoTasks:
    """A nursery in which nothing starts."""

    def start_soon(self, *task):
        pass


class World:
    """A proxy that does not run: turns end when a test says so. Its nodes are ready, and their inboxes empty."""

    def __init__(self):
        self.app = App(configure())
        self.app._start_cluster([], NoTasks())
        self.hub = MemoryHub(self.app.gateway)
        self.now = self.app.reactor.now

    def close(self):
        self.app.reactor.close()

    def dial(self, wants_clients=True):
        peer = self.hub.dial()
        peer.say(frames.Hello(frames.VERSION, f"n{id(peer)}", "n", 1, 1000, wants_clients=wants_clients))
        self.turn()
        return peer

    def join(self, wants_clients=True):
        peer = self.dial(wants_clients)
        peer.say(frames.Ready())
        self.turn()
        peer.heard.clear()
        return peer

    def turn(self, seconds=0.0):
        """The end of a turn, so much later."""
        self.now += seconds
        self.app.announcer.step(self.now)
        while self.hub.pump(self.now) | self.app.announcer.send_pages(self.now):
            pass
        self.hub.pump(self.now)

    def open(self, *ids):
        for id in ids:
            self.app.announcer.client_opened(Client(id).info)

    def close_client(self, id, reason):
        self.app.announcer.client_closed(id, reason)

    def ask(self, id, payload=b"x"):
        self.app.dispatch.request(Client(id), Message(payload, False))


@pytest.fixture
async def world():
    world = World()
    yield world
    world.close()


def told(peer):
    """Who came, in the order in which the node was told; and how many frames that took."""
    changes = [frame for frame in peer.heard if isinstance(frame, frames.Changes)]
    return [change.client.id for frame in changes for change in frame.changes], len(changes)


async def test_who_comes_alone_is_told_at_once(world):
    peer = world.join()
    world.turn(seconds=1.0)
    world.open(1)
    world.turn()
    assert told(peer) == ([1], 1)


async def test_who_comes_with_others_is_collected(world):
    """A storm costs a node some frames, not one for each client; and nobody waits for long."""
    peers = [world.join() for _ in range(3)]
    for id in range(1, 1001):
        world.open(id)
        world.turn(seconds=0.0001)
    world.turn(seconds=0.1)
    for peer in peers:
        ids, count = told(peer)
        assert ids == list(range(1, 1001))
        assert count <= 12


async def test_many_nodes_are_told_more_seldom(world):
    peers = [world.join() for _ in range(400)]
    for id in range(1, 101):
        world.open(id)
        world.turn(seconds=0.001)
    world.turn(seconds=0.1)
    assert [told(peer) for peer in peers] == [(list(range(1, 101)), 6)] * 400


async def test_what_is_collected_makes_no_huge_frame(world):
    peer = world.join()
    world.open(1)
    world.turn()  # from now on they are collected
    for id in range(2, 42):
        info = frames.Client(id, "websocket", "", "/", [("x", "y" * 16_000)])
        world.app.announcer.client_opened(info)
    world.turn()
    assert told(peer) == (list(range(1, 36)), 3)


async def test_a_node_knows_a_client_before_its_first_request(world):
    """And only that node is told at once: else every client that asks something would be a frame for each node."""
    peers = [world.join() for _ in range(4)]
    world.open(1)
    world.turn()
    for peer in peers:
        peer.heard.clear()
    world.open(2, 3)
    world.ask(3)
    world.turn()
    [asked] = [peer for peer in peers if peer.heard]
    changes, request = asked.heard
    assert [change.client.id for change in changes.changes] == [2, 3]
    assert (request.client, request.info) == (3, b"")
    world.open(4)
    world.turn(seconds=0.1)
    for peer in peers:
        assert told(peer) == ([2, 3, 4], 2 if peer is asked else 1)


async def test_a_node_that_wants_no_clients_is_told_of_none(world):
    world.open(1)
    peer = world.dial(wants_clients=False)
    assert [type(frame) for frame in peer.heard] == [frames.Welcome, frames.Master, frames.State]
    peer.say(frames.Ready())
    world.turn()
    peer.heard.clear()
    world.open(2)
    world.turn(seconds=1.0)
    assert not peer.heard
    world.ask(1)
    world.ask(2)
    world.turn()
    assert [frames.decode_client(request.info) for request in peer.heard] == [Client(1).info, Client(2).info]


async def test_who_joins_meanwhile_has_each_client_once(world):
    """What is not told yet when a node comes is in its pages; what comes between them is told before the next."""
    world.join()
    world.open(1)
    world.turn()
    world.open(2)
    peer = world.hub.dial()
    peer.say(frames.Hello(frames.VERSION, "late", "n", 1, 1000))
    world.hub.pump(world.now)
    world.open(3)
    world.turn(seconds=0.1)
    welcome, _, changes, clients, *_ = peer.heard
    assert (welcome.clients_sequence, changes.sequence) == (2, 3)
    assert [change.client.id for change in changes.changes] == [3]
    assert [client.id for client in clients.clients] == [1, 2]


async def test_the_last_ones_are_told_before_goodbye(world):
    peer = world.join()
    world.open(1)
    world.turn()
    world.close_client(1, Reason.DRAINING)
    world.app.gateway.leave()
    world.turn()
    assert [type(frame) for frame in peer.heard] == [frames.Changes, frames.Changes, frames.Bye]
    assert peer.heard[1].changes == [frames.Closed(1, Reason.DRAINING.value)]


async def test_a_node_knows_whose_client_it_is_from_the_welcome():
    async with running() as proxy, websocket(proxy):
        with ScriptedNode(proxy.node, wants_clients=False) as node:
            await node.join()
            (client,) = client_ids(proxy)
            assert node.frames[0].prefix == client >> 32


async def test_a_request_brings_its_client_over_the_wire():
    async with running() as proxy:
        with ScriptedNode(proxy.node, wants_clients=False) as node:
            await node.join()
            async with websocket(proxy, "/room", additional_headers={"x-user": "anna"}) as client:
                await client.send("hello")
                request = await node.reply()
                assert await client.recv() == "hello"
            info = frames.decode_client(request.info)
            assert (info.id, info.path) == (request.client, "/room")
            assert ("x-user", "anna") in info.headers
