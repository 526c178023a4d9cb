"""One limit for what all clients together make the process hold: `client.max_buffered_bytes`.

Each connection has limits of its own, and thousands of them are within these at once. Looks at two sums at each turn's
end, and at single connections only when there is too much. From half of the limit on, each may have fewer requests
open, so that it waits in its own kernel. Above all of it those that hold the most make way, until an eighth is free:
requests are answered, unfinished bodies and unread replies end with their connections. So nobody waits for room that
others have taken and don't use, and who holds little is the last to go. An eighth is also what must come before all are
looked at again.
"""

from collections.abc import Callable
from operator import itemgetter

import structlog

from holdfast.balancer.ledger import Entry, Ledger, Requester
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.connection import Connection

log = structlog.get_logger("holdfast.budget")

LIMIT = "client.max_buffered_bytes"
TIGHT_SHARE = 16  # of client.max_in_flight, a sixteenth is left when half of the limit is held


class Budget:
    """refuse: answers requests with OVERLOADED. abandon: forgets those of connections that are closed."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        max_bytes: int,
        refuse: Callable[[list[Entry]], None],
        abandon: Callable[[], None],
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._held = clients.held
        self._max_bytes = max_bytes
        self._tight_bytes = max_bytes // 2
        self._refuse = refuse
        self._abandon = abandon
        self._max_in_flight = clients.max_in_flight

    @property
    def held_bytes(self) -> int:
        return self._held.bytes + self._ledger.held_bytes

    def step(self, now: float) -> bool:
        """Turn's end, before it is written: so an answer leaves with this turn."""
        held = self._held.bytes + self._ledger.held_bytes
        clients = self._clients
        if held > self._tight_bytes:
            clients.max_in_flight = max(1, self._max_in_flight // TIGHT_SHARE)
            if held > self._max_bytes:
                self._make_room(held)
        elif clients.max_in_flight != self._max_in_flight:
            clients.max_in_flight = self._max_in_flight
        return False

    def _make_room(self, held: int) -> None:
        enough = self._max_bytes - self._max_bytes // 8
        self._abandon()
        asked = self._ledger.by_connection()
        found: list[tuple[int, Connection | None, Requester]] = []
        for connection in self._clients.connections.values():
            size = connection.held_bytes
            if size:
                found.append((size, connection, connection))
        for requester, entries in asked.items():
            found.append((sum(len(entry.event.payload) for entry in entries), None, requester))
        found.sort(key=itemgetter(0), reverse=True)
        ended = answered = 0
        for _, holder, requester in found:
            if self.held_bytes <= enough:
                break
            if holder is not None:
                holder.make_way()
                ended += 1
            if holder is None or holder.is_closed:  # what it asked goes with it
                entries = asked.pop(requester, [])
                self._refuse(entries)
                answered += len(entries)
        self._clients.counters.limits_hit[LIMIT] += ended + answered
        reactor = self._clients.reactor
        if reactor.masses.admits("overloaded", reactor.now):
            log.warning("overloaded", held_bytes=held, limit=self._max_bytes, ended=ended, answered=answered)
