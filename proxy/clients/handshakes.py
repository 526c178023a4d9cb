"""TLS in turns. A handshake costs as much as a hundred messages, and whoever asks for one is nobody yet; what records
cost only OpenSSL knows.

Owns whose handshake has something to go on with, or who has sent more records than are a share, in the order in which
they came, and how much of a turn they all have. Who waits here is not read meanwhile.
"""

from collections import deque

import structlog
import trio

from holdfast.proxy.clients.reactor import READABLE, WRITABLE, Reactor, close_crashed
from holdfast.proxy.clients.shared import Waiting
from holdfast.proxy.clients.transport import Transport

log = structlog.get_logger("holdfast.handshakes")

# Of each turn, while others wait. One is begun in any case: with a key of RSA it takes about a millisecond.
HANDSHAKE_TIME = 0.002


class Handshakes:
    """Those that wait, each once. `step` ends a turn, before what they ask leaves for nodes."""

    def __init__(self, reactor: Reactor, waiting: deque[Waiting]) -> None:
        self._reactor = reactor
        self.waiting = waiting

    def step(self, now: float) -> bool:
        """True: some still wait."""
        waiting = self.waiting
        if not waiting:
            return False
        until = trio.current_time() + HANDSHAKE_TIME
        for _ in range(len(waiting)):
            self._go_on(waiting.popleft(), now)
            if trio.current_time() >= until:
                break
        return bool(waiting)

    def _go_on(self, transport: Waiting, now: float) -> None:
        if transport.fd < 0:  # closed meanwhile
            return
        try:
            transport.take_up(now)
        except Exception:  # a guard: a fault with one must not stop the others
            if self._reactor.masses.admits("handshake_crashed", now):
                log.exception("handshake_crashed")
            close_crashed(transport)
        if transport.fd >= 0 and not transport.is_in_handshake:
            self._reactor.hand_over(transport.fd, transport)


class Handshaking:
    """In the reactor in place of a transport until its handshake is done."""

    def __init__(self, handshakes: Handshakes, transport: Transport) -> None:
        self._handshakes = handshakes
        self._transport = transport

    def on_ready(self, events: int, now: float) -> None:
        transport = self._transport
        if transport.waits_for_turn:
            if events & ~(READABLE | WRITABLE):  # reset
                transport.owner.lost()
            else:
                transport.on_ready(events & WRITABLE, now)
        elif events & READABLE and transport.put_off():
            self._handshakes.waiting.append(transport)
        else:
            transport.on_ready(events, now)

    def on_crash(self) -> None:
        self._transport.on_crash()
