"""The programs that bench.ladder stands on: each answers a WebSocket message with itself, with one thing more inside.

`python -m bench.rungs NAME` takes a free port, says {"port": N}, and on SIGUSR1 prints what it has spent in its parts,
in ns of CPU. Replies leave at the end of a turn, as the proxy's do.

loop        epoll, read(), the adapter, write(), in one Python loop; its parts are told
reactor     the same in the proxy's reactor, under Trio
connection  the same through proxy.clients.clients and proxy.clients.connection
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import wraps
from time import thread_time_ns as clock
from typing import ParamSpec, TypeVar, cast

import trio

from holdfast.balancer.ledger import Requester
from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.events import Message, Request
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.websocket import WebSocketProtocol, accept_key
from holdfast.proxy.clients.clients import Clients, random_prefix
from holdfast.proxy.clients.listener import Listener
from holdfast.proxy.clients.reactor import READABLE, Reactor
from holdfast.proxy.config import ClientSettings
from holdfast.proxy.metrics import Counters

NONCE = "dGhlIHNhbXBsZSBub25jZQ=="  # as in c/common.h
ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_key(NONCE)}\r\n\r\n"
).encode()
EVENTS, READ_BYTES = 256, 64 << 10  # as the proxy's

P = ParamSpec("P")
R = TypeVar("R")

parts: dict[str, int] = {}


def tell_parts_on_signal() -> None:
    """SIGUSR1: a line of JSON with `parts`, to what is stdout now."""
    stdout = open(os.dup(1), "w")  # noqa: SIM115  open for as long as we live
    signal.signal(signal.SIGUSR1, lambda *_: print(json.dumps(parts), file=stdout, flush=True))


def timed(part: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function, its time in `parts`."""
    parts[part] = parts.get(part, 0)

    @wraps(function)
    def timed(*arguments: P.args, **options: P.kwargs) -> R:
        begun = clock()
        try:
            return function(*arguments, **options)
        finally:
            parts[part] += clock() - begun

    return timed


class Echo:
    """One connection of the two lower rungs."""

    def __init__(self, listening: socket.socket) -> None:
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += accepted.recv(READ_BYTES)
        accepted.setblocking(False)
        accepted.sendall(ANSWER)
        self.fd = accepted.detach()
        self.protocol = WebSocketProtocol(Limits(), "", 0.0)

    def answer(self, data: bytes, now: float) -> bytes:
        """What is to be written when `data` has been read. The generator has one message in flight."""
        protocol = self.protocol
        [event] = protocol.receive_data(data, now)
        event = cast("Message", event)
        return protocol.reply(event, None, event.payload, event.is_text, False)


class ReactorEcho(Echo):
    def __init__(self, listening: socket.socket, answered: list[tuple[int, bytes]]) -> None:
        super().__init__(listening)
        self._answered = answered

    def on_ready(self, events: int, now: float) -> None:
        self._answered.append((self.fd, self.answer(os.read(self.fd, READ_BYTES), now)))

    def on_crash(self) -> None:
        raise SystemExit("the generator has gone")


def loop(listening: socket.socket) -> None:
    epoll = select.epoll()
    epoll.register(listening, READABLE)
    echoes: dict[int, Echo] = {}
    parts.update(read=0, adapter=0, write=0)
    while True:
        ready = [fd for fd, _ in epoll.poll(-1, EVENTS)]
        if listening.fileno() in ready:
            echo = Echo(listening)
            echoes[echo.fd] = echo
            epoll.register(echo.fd, READABLE)
            continue
        begun = clock()
        came = [os.read(fd, READ_BYTES) for fd in ready]
        read = clock()
        leave = [echoes[fd].answer(data, 0.0) for fd, data in zip(ready, came, strict=True)]
        answered = clock()
        for fd, data in zip(ready, leave, strict=True):
            os.write(fd, data)
        parts["read"] += read - begun
        parts["adapter"] += answered - read
        parts["write"] += clock() - answered


def reactor(listening: socket.socket) -> None:
    async def main() -> None:
        reactor = Reactor()
        answered: list[tuple[int, bytes]] = []

        def write(now: float) -> bool:
            for fd, data in answered:
                os.write(fd, data)
            answered.clear()
            return False

        class Door:
            def on_ready(self, events: int, now: float) -> None:
                echo = ReactorEcho(listening, answered)
                reactor.register(echo.fd, echo)

            on_crash = ReactorEcho.on_crash

        reactor.at_turn_end(write)
        reactor.register(listening.fileno(), Door())
        await reactor.run()

    trio.run(main)


def connection(listening: socket.socket) -> None:
    async def main() -> None:
        reactor = Reactor()
        asked: list[tuple[Requester, Request]] = []

        def answer(now: float) -> bool:
            for connection, event in asked:
                connection.reply(event, None, event.payload, True, False)
            asked.clear()
            return False

        clients = Clients(ClientSettings(), HttpProtocol, reactor, Counters(), random_prefix(), lambda id: None)
        clients.dispatch = lambda connection, event: asked.append((connection, event))
        clients.on_opened = lambda client: None
        clients.on_closed = lambda session, reason: None
        for step in (answer, clients.flush):
            reactor.at_turn_end(step)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            nursery.start_soon(Listener(listening, clients, None).run)

    listening.setblocking(False)
    trio.run(main)


RUNGS: dict[str, Callable[[socket.socket], None]] = {"loop": loop, "reactor": reactor, "connection": connection}

if __name__ == "__main__":
    tell_parts_on_signal()
    bound = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
    RUNGS[sys.argv[1]](bound)
