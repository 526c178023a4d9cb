"""A proxy that stands still: its turns end when the test says so, so what one turn does can be told to the delivery.

Its nodes are at memory links: real frames, no sockets. Its clients are real connections that speak lines.
"""

import socket

from holdfast.balancer.links.memory import MemoryHub
from holdfast.protocols.nodes import frames
from holdfast.proxy.app import App
from tests.harness import configure
from tests.proxy.clients.test_connection import LineProtocol
from tests.proxy.nodes.test_announcer import NoTasks


class Client:
    """heard: lines that came: notifications begin with "* ", errors with "error "."""

    def __init__(self, app):
        ours, self._socket = socket.socketpair()
        ours.setblocking(False)
        self._socket.setblocking(False)
        self._app = app
        self.connection = app.clients.add(ours.detach(), "192.0.2.1:5", None, LineProtocol)
        self.id = self.connection.id
        self.ask("ping")

    def ask(self, line):
        self.connection.receive(line.encode() + b"\n", self._app.reactor.now)

    @property
    def heard(self):
        try:
            data = self._socket.recv(1 << 20, socket.MSG_PEEK)
        except BlockingIOError:
            return []
        return data.decode().split("\n")[1:-1]  # after the answer to the ping

    def close(self):
        self._socket.close()


class StillProxy:
    """Time stands still as well, but for `tick`; with trio_clock it goes on with Trio's, as a proxy's does."""

    def __init__(self, *, trio_clock=False, **sections):
        sections.setdefault("node", {}).setdefault("heartbeat_timeout", 1000.0)
        self.app = app = App(configure(**sections))
        if not trio_clock:
            app.reactor.clock = lambda: app.reactor.now
        app._start_cluster([], NoTasks())
        self.hub = MemoryHub(app.gateway)
        self.clients = []
        self.counters = app.counters
        self.lanes, self.effects, self.dispatch = app.lanes, app.effects, app.dispatch

    def close(self):
        self.app.clients.close()
        for client in self.clients:
            client.close()
        self.app.reactor.close()

    def client(self):
        client = Client(self.app)
        self.clients.append(client)
        return client

    def join(self, id="node", incarnation=1, capacity=1000, **more):
        """A node that is ready, and has taken all that it was told but what it is asked. seen: as its Welcome said."""
        peer = self.hub.dial()
        hello = frames.Hello(frames.VERSION, id, "n", incarnation, capacity, wants_clients=False, **more)
        peer.say(hello, frames.Ready())
        self.turn()
        peer.seen = next(frame.seen for frame in peer.heard if isinstance(frame, frames.Welcome))
        asked = taken(peer, frames.Request | frames.Call)
        peer.heard.clear()
        peer.heard += asked
        return peer

    def turn(self):
        """One of the reactor. True: there is more to do."""
        app, now = self.app, self.app.reactor.now
        app.announcer.step(now)
        self.hear()
        app.announcer.send_pages(now)
        more = app.effects.step(now)
        app.clients.flush(now)
        return more

    def hear(self):
        """What nodes and the proxy have said to each other is taken, and no more is done."""
        self.hub.pump(self.app.reactor.now)

    def settle(self):
        """Turns, until nothing is left to do. Returns how many."""
        turns = 1
        while self.turn():
            turns += 1
            assert turns < 10_000
        self.tick()
        return turns

    def until_told(self, peer, kind):
        """Turns, until the node is told this. Yields before each."""
        for _ in range(1000):
            if taken(peer, kind):
                return
            yield
            self.turn()
            self.hear()
        raise AssertionError(f"{kind} is not told")

    def tick(self, seconds=0.0):
        """So much later."""
        app = self.app
        app.reactor.now = now = app.reactor.now + seconds
        app.gateway.tick(now)
        app.dispatch.expire(now)
        app.directory.tend(now)
        self.turn()
        self.hear()

    def lane(self, id="node"):
        return self.effects._of[id]


def taken(peer, kind):
    """What the node was told of this kind."""
    return [frame for frame in peer.heard if isinstance(frame, kind)]


def tell(text):
    return frames.Broadcast(text.encode(), True)
