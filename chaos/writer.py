"""Has the built-in clients ask for writes to the state, evenly over time, one client after another.

The numbers of these requests are below those of all others, and they are in books of their own (chaos.writes): a
write waits for proxies to agree, which no other request does.
"""

import math
from collections.abc import Callable, Sequence

from holdfast.chaos.connections import Client
from holdfast.chaos.messages import Ask, Heard
from holdfast.chaos.sessions import Sessions
from holdfast.chaos.writes import Writes

FIRST = -2  # the number of the first one's request; the second's is one less
PER_TURN = 4
LAST = 6  # writes when all is mended: one of each kind


class Writer:
    """rate: writes of all clients together, per second. send: a client's request. due_at: when the next one is."""

    def __init__(
        self, rate: float, clients: Sequence[Client], sessions: Sessions, send: Callable[[Client, Ask], None]
    ) -> None:
        self._pause = 1 / rate if rate else math.inf
        self._clients = clients
        self._sessions = sessions
        self._send = send
        self._next = 0  # client
        self.due_at = math.inf
        self.writes = Writes()

    def start(self, at: float) -> None:
        self.due_at = at if self._pause < math.inf else math.inf

    def stop(self, now: float) -> None:
        """All is mended: send the last ones."""
        if self.due_at < math.inf:
            self.due_at = math.inf
            for _ in range(LAST):
                self._write(now, is_last=True)

    def send_due(self, now: float) -> None:
        for _ in range(PER_TURN):
            if self.due_at > now:
                break
            self._write(now)
            self.due_at += self._pause

    def _write(self, now: float, *, is_last: bool = False) -> None:
        for _ in self._clients:
            client = self._clients[self._next]
            self._next = (self._next + 1) % len(self._clients)
            if client.may_ask:
                write = self.writes.next(client.index, self._sessions.id_of(client.index), now, is_last=is_last)
                ask = Ask(FIRST - write.number, client.index, write=write.kind, key=write.key, number=write.number)
                self._send(client, ask)
                return

    def take(self, client: Client, heard: Heard, now: float) -> bool:
        """Whether this is the answer to a write."""
        if heard.requestId is None or heard.requestId > FIRST:
            return False
        number = FIRST - heard.requestId
        if heard.error is not None:
            self.writes.failed(client.index, number, now)
        else:
            self.writes.answered(heard.client, number, heard.is_done, heard.version, heard.attempt, now)
        return True
