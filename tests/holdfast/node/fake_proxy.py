"""A proxy that does exactly what the test says: a real ROUTER socket, speaking frames.

Heartbeats are answered by itself, because no test is about each of them; everything else a test says and takes.
"""

from contextlib import asynccontextmanager

import trio
import zmq
from msgspec.structs import replace

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import decode_from_node, encode_batch, encode_frame
from tests.waiting import PATIENCE, until


class FakeProxy:
    """sessions: every one there was, by routing id. prefix: of its clients' ids. is_paused: it reads nothing."""

    def __init__(self, socket, id):
        self.id = id
        self.prefix = "abc".find(id) + 1
        self.socket = socket
        self.address = socket.last_endpoint.decode()
        self.sessions = {}
        self.is_paused = False  # reads nothing
        self._new = []

    @property
    def peer(self):
        return frames.Peer(self.id, self.address)

    async def accept(self) -> "FakeSession":
        """The next session: its hello has come, nothing is said yet."""
        await until(lambda: self._new, "a hello")
        return self._new.pop(0)

    async def join(self, **welcome) -> "FakeSession":
        """The next session, from hello to ready."""
        session = await self.accept()
        session.welcome(**welcome)
        await session.take(frames.Ready)
        return session

    async def run(self):
        while True:
            if self.is_paused:
                await trio.sleep(0.001)
                continue
            try:
                identity = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                await trio.sleep(0.001)
                continue
            data = self.socket.recv(zmq.NOBLOCK)
            session = self.sessions.get(identity)
            if session is None:
                session = self.sessions[identity] = FakeSession(self, identity)
                self._new.append(session)
            session.receive(data)

    def say_raw(self, identity, data):
        try:
            self.socket.send(identity, zmq.SNDMORE | zmq.NOBLOCK)
            self.socket.send(data, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:  # the node has gone meanwhile
                raise


class FakeSession:
    """One node's session. frames: everything that came but heartbeats. lease: what heartbeats are answered.

    acknowledges: whether numbered effects are, by themselves. via: the proxy that the node wants to be passed to.
    """

    def __init__(self, proxy, identity):
        self.proxy = proxy
        self.identity = identity
        self.frames = []
        self.heartbeats = []
        self.told_before_ready = None  # the last heartbeat before Ready
        self.batches = self.largest_batch = 0
        self.is_mute = False  # answers no heartbeat
        self.lease = 0.0
        self.epoch = 0
        self.ballot, self.quorum = 0, 1
        self.is_drained = False  # an operator has said so here
        self.acknowledges = True
        self.via = ""
        self._taken = 0
        self._sent = 0
        self._sequence = 0
        self._clients = {}
        self._requests = 0

    @property
    def hello(self):
        assert isinstance(self.frames[0], frames.Hello)
        return self.frames[0]

    def receive(self, data):
        number, batch = decode_from_node(data)
        self.largest_batch = max(self.largest_batch, len(data))
        if number == 0 and not self.batches:
            [via] = batch
            self.via = via.proxy
            return
        self.batches += 1
        assert number == self.batches
        for frame in batch:
            if isinstance(frame, frames.Heartbeat):
                self.heartbeats.append(frame)
                if not self.is_mute:
                    self.say(self.answer(frame.stamp))
            else:
                if isinstance(frame, frames.Ready):
                    self.told_before_ready = self.heartbeats[-1] if self.heartbeats else None
                self.frames.append(frame)
                if self.acknowledges and isinstance(frame, frames.Effects):
                    self.say(frames.Ack(frame.number, 1000))

    def answer(self, stamp):
        answer = frames.Heartbeat(stamp, -1.0, self.epoch, self.lease, self.ballot, self.quorum)
        return replace(answer, is_drained=self.is_drained)

    def say(self, *what):
        self._sent += 1
        self.proxy.say_raw(self.identity, encode_batch(self._sent, what))

    def refuse(self, reason):
        """As a proxy that has given it up."""
        self.proxy.say_raw(self.identity, encode_batch(0, [frames.Refused(reason)]))

    async def take(self, kind):
        """The next frame; it is of this kind."""
        await until(lambda: len(self.frames) > self._taken, f"a frame {kind}")
        frame = self.frames[self._taken]
        assert isinstance(frame, kind), f"expected {kind}, got {frame}"
        self._taken += 1
        return frame

    async def take_effect(self, kind):
        """The only one of the next Effects; it is of this kind."""
        [effect] = (await self.take(frames.Effects)).effects
        assert isinstance(effect, kind), f"expected {kind}, got {effect}"
        return effect

    def untaken(self):
        return self.frames[self._taken :]

    def welcome(
        self,
        clients=(),
        state=(),
        position=(0, 0),
        applied=(),
        interval=0.05,
        timeout=60.0,
        peers=(),
        sequence=0,
        seen=0,
        keeper="",
        reply_window=1 << 20,
        max_batch_bytes=16 << 20,
        stream_timeout=0.0,
        session=0,
    ):
        """Say welcome and everything that is: clients, and items of the state if we keep it.

        peers: other proxies, as FakeProxy or Peer; we list ourselves, too, if there are any.
        """
        if self._taken == 0:
            self._taken = 1  # the hello
        self._sequence = sequence
        self._clients = {client.id: client for client in clients}
        self.say(
            frames.Welcome(
                frames.VERSION,
                self.proxy.id,
                interval,
                timeout,
                sequence,
                self.listing(*peers),
                max_batch_bytes,
                seen=seen,
                keeper=keeper,
                prefix=self.proxy.prefix,
                reply_window=reply_window,
                stream_timeout=stream_timeout,
                session=session,
            ),
            *([frames.Clients(list(clients), last=True)] if self.hello.wants_clients else []),
            *([] if keeper else [frames.State(*position, list(state), True, list(applied))]),
        )

    def listing(self, *peers):
        """Peers, with ourselves, if there are any."""
        listed = [peer.peer if isinstance(peer, FakeProxy) else peer for peer in peers]
        return [self.proxy.peer, *listed] if listed else []

    def introduce(self, *peers, ballot=0):
        self.say(frames.Peers(self.listing(*peers) or [self.proxy.peer], ballot))

    def open(self, client):
        self._clients[client.id] = client
        self.changed(frames.Opened(client))

    def close(self, client_id, reason="client_left"):
        self._clients.pop(client_id, None)
        self.changed(frames.Closed(client_id, reason))

    def changed(self, *changes):
        """Tell who came and who went, if the node wants to know."""
        if self.hello.wants_clients:
            self.say(frames.Changes(self._sequence + 1, list(changes)))
            self._sequence += len(changes)

    def request(self, payload=b"hello", client=7, is_text=False, attempt=1, timeout=10_000, id=None):
        """Send a request. Returns its id."""
        self._requests += 1
        id = self._requests if id is None else id
        info = b"" if self.hello.wants_clients or client not in self._clients else encoded(self._clients[client])
        self.say(frames.Request(id, client, attempt, timeout, payload, is_text, info))
        return id

    def http(self, method="GET", target="/", payload=b"", headers=(), client=9):
        self._requests += 1
        whom = frames.Client(client, "http", "192.0.2.9", target, [tuple(pair) for pair in headers])
        self.say(frames.HttpRequest(self._requests, whom, 1, 10_000, payload, method, target))
        return self._requests

    def elect(self, epoch, lease=1.0, node=None):
        """Say that the node is master; its next heartbeats bring the lease."""
        self.epoch, self.lease = epoch, lease
        self.say(frames.Master(self.hello.node if node is None else node, epoch))


def client(id=7, protocol="websocket", address="192.0.2.7", path="/chat", headers=(("user-agent", "x"),)):
    return frames.Client(id, protocol, address, path, [tuple(pair) for pair in headers])


def encoded(client):
    """As Request.info has it."""
    return bytes(encode_frame(client))


@asynccontextmanager
async def linked(node, **welcome):
    """A node with a session that is ready, for the length of the block."""
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            yield await proxy.join(**welcome)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def fake_proxy(id="proxy-1", address="tcp://127.0.0.1:*", curve=None):
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.rcvhwm = 4  # so that a paused proxy is felt soon
    socket.router_mandatory = True
    if curve is not None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = curve
    try:
        socket.ipv6 = "[" in address
        socket.bind(address)
        proxy = FakeProxy(socket, id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.run)
            yield proxy
            nursery.cancel_scope.cancel()
    finally:
        socket.close(linger=0)
        context.destroy(linger=0)
