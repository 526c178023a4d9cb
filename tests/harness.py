"""A whole proxy within the test's own process, and a node that does exactly what the test says.

Real sockets and real ZeroMQ; only the process boundary is missing, so that the test can look inside and coverage sees
what runs. Tests of killed processes are in tests/e2e.
"""

import os
from contextlib import asynccontextmanager

import msgspec
import trio
import zmq

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import decode_from_proxy, encode_batch
from holdfast.proxy.app import App
from holdfast.proxy.config import Config, channels, routes
from holdfast.proxy.process.bound import Bound
from tests.waiting import PATIENCE, until


def configure(**sections) -> Config:
    """A configuration on ephemeral ports: configure(client={"max_channels": 3}, request={"timeout": 1.0}).

    route, channel: the tables of a file.
    """
    found = routes.read(sections.pop("route", []))
    rules = channels.read(sections.pop("channel", []))
    assert not [*found.problems, *rules.problems]
    sections.setdefault("client", {}).setdefault("bind", ("127.0.0.1:0",))
    sections.setdefault("node", {}).setdefault("bind", ("tcp://127.0.0.1:*",))
    # A scripted node says only what the test says; tests of silence set this themselves.
    sections["node"].setdefault("heartbeat_timeout", 60.0)
    sections.setdefault("admin", {}).setdefault("bind", "127.0.0.1:0")
    sections.setdefault("cluster", {}).setdefault("pub", "tcp://127.0.0.1:*")
    sections.setdefault("state", {}).setdefault("recover_timeout", 0.0)  # no node of a former life will come
    sections.setdefault("log", {}).setdefault("level", "error")
    default = Config()
    return msgspec.structs.replace(
        default,
        **{name: msgspec.structs.replace(getattr(default, name), **keys) for name, keys in sections.items()},
        route=found.routes,
        channel=rules.rules,
    )


class Proxy:
    """A running App, and where it is."""

    def __init__(self, app: App, bound: Bound) -> None:
        self.app = app
        self.counters = app.counters
        self.client = bound.client[0]
        self.node = bound.node[0]
        self.admin = bound.admin

    @property
    def client_port(self) -> int:
        return int(self.client.rpartition(":")[2])

    async def until(self, condition, what="the condition") -> None:
        await until(condition, what)


@asynccontextmanager
async def running(*, coordinator=None, **sections):
    """A proxy for the length of the block, which no test makes last for minutes. With a coordinator, which several may
    share, it is one of a cluster."""
    with trio.fail_after(6 * PATIENCE):
        async with _running(configure(**sections), coordinator) as proxy:
            yield proxy


@asynccontextmanager
async def _running(config: Config, coordinator):
    app = App(config, coordinator)
    async with trio.open_nursery() as nursery:
        bound: list[Bound] = []
        serving = trio.Event()

        def ready(where: Bound) -> None:
            bound.append(where)
            serving.set()

        nursery.start_soon(app.run, ready)
        with trio.fail_after(PATIENCE):
            await serving.wait()
        yield Proxy(app, bound[0])
        nursery.cancel_scope.cancel()


class ScriptedNode:
    """A node session over a real DEALER. `take` gives the next frame of a kind; nothing is answered by itself."""

    def __init__(self, address: str, name: str = "scripted", capacity: int = 16, **hello) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._socket.setsockopt(zmq.IDENTITY, b"T" + os.urandom(15))
        public, secret, server = hello.pop("curve", (None, None, None))
        if public:
            self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
            self._socket.curve_serverkey = server
        self._socket.connect(address)
        self._sent = self._effects = 0
        self.received = self.empty = 0  # batches, and messages by which the proxy looks whether we are there
        self.inbox: list = []
        self.frames: list = []  # everything that ever came
        self.id = hello.pop("node", f"{name}-{os.urandom(4).hex()}")
        self.hello = frames.Hello(
            frames.VERSION,
            self.id,
            name,
            hello.pop("incarnation", int.from_bytes(os.urandom(4), "big")),
            capacity,
            **hello,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self) -> None:
        """As a process that dies: the socket is gone, nothing is said."""
        self._socket.close(linger=0)
        self._context.destroy(linger=0)

    def say(self, *what) -> None:
        self._sent += 1
        self._socket.send(encode_batch(self._sent, what), zmq.NOBLOCK)

    def numbered(self, *effects) -> frames.Effects:
        """Effects, with the next number."""
        self._effects += 1
        return frames.Effects(self._effects, list(effects))

    def do(self, *effects) -> None:
        """One batch of Effects, each by itself."""
        self.say(*map(self.numbered, effects))

    def say_raw(self, *parts: bytes) -> None:
        for part in parts[:-1]:
            self._socket.send(part, zmq.NOBLOCK | zmq.SNDMORE)
        self._socket.send(parts[-1], zmq.NOBLOCK)

    async def hear(self) -> None:
        """Wait for a batch and put its frames into the inbox."""
        while True:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                await trio.sleep(0.002)
                continue
            if not data:
                self.empty += 1
                continue
            number, batch = decode_from_proxy(data)
            if not isinstance(batch[0], frames.Refused):
                self.received += 1
                assert number == self.received
            self.inbox += batch
            self.frames += batch
            return

    async def take(self, kind):
        """The next frame of this kind; others stay in the inbox."""
        with trio.move_on_after(PATIENCE):
            while True:
                for frame in self.inbox:
                    if isinstance(frame, kind):
                        self.inbox.remove(frame)
                        return frame
                await self.hear()
        raise AssertionError(f"waited {PATIENCE} s for {kind}; there is {self.inbox}")

    async def join(self, *, keeper: bool = True) -> "ScriptedNode":
        """Hello to Ready. Afterwards the proxy has taken it as ready, for what is said on other sockets too.

        keeper: whether the proxy keeps the state; another one sends none.
        """
        self.say(self.hello)
        return await self.finish_join(keeper=keeper)

    async def finish_join(self, *, keeper: bool = True) -> "ScriptedNode":
        """What follows Hello."""
        while self.hello.wants_clients and not (await self.take(frames.Clients)).last:
            pass
        while keeper and not (await self.take(frames.State)).last:
            pass
        self.say(frames.Ready(), frames.Heartbeat(0.0))
        await self.take(frames.Heartbeat)
        return self

    async def reply(self, request=None, payload=None, effects=None):
        """Answer a request (the next one) with its own payload."""
        request = request or await self.take(frames.Request)
        self.say(
            frames.Reply(
                request.id,
                request.attempt,
                request.payload if payload is None else payload,
                request.is_text,
                False,
                effects,
            )
        )
        return request


@asynccontextmanager
async def websocket(proxy: Proxy, path: str = "/", **options):
    """A client that others wrote."""
    from websockets.trio.client import connect

    options.setdefault("compression", None)
    options.setdefault("ping_interval", None)
    async with connect(f"ws://{proxy.client}{path}", **options) as client:
        yield client


def client_ids(proxy: Proxy) -> list[int]:
    return [session.id for session in proxy.app.clients.all_sessions()]
