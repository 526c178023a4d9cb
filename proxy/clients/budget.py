"""One limit for what all clients together make the process hold: `client.max_buffered_bytes`.

Each connection has limits of its own, and thousands of them are within these at once. Looks at two sums at each turn's
end, and at single connections only when there is too much. From half of the limit on, each may have fewer requests
open, so that it waits in its own kernel. Above all of it those that hold the most make way, until an eighth is free:
requests are answered, unfinished bodies and unread replies end with their connections. So nobody waits for room that
others have taken and don't use. An eighth is also what must come before all are looked at again.

Who holds little never goes. What several wait for is there once, and each of them holds an equal part of it: so what
each holds adds up to the sum. Whenever that is too much, somebody holds as much as each might if all held the same, and
nobody who holds less is given up. Where those who make way share with others, a turn may free less than it should; then
the others hold more of it in the next one.
"""

from collections.abc import Callable
from math import inf
from operator import itemgetter

import structlog

from holdfast.balancer.ledger import Entry, Ledger, Requester
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.connection import Connection

log = structlog.get_logger("holdfast.budget")

LIMIT = "client.max_buffered_bytes"
TIGHT_SHARE = 16  # of client.max_in_flight, a sixteenth is left when half of the limit is held
# Between two lines of the log, and between two looks at all when nobody could be given up. By the sums above that can't
# be; if they are ever wrong, that must not cost a look at everybody in each turn.
INTERVAL = 1.0


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
        self._is_tight = False  # each client may ask less at once
        self._vain_at = -inf  # when nobody could be given up, and at what sum
        self._vain_bytes = 0
        self._told_at = -inf
        self._untold_bytes = 0  # the most that was held since then, if it was too much
        self._ended = self._answered = 0

    @property
    def held_bytes(self) -> int:
        return self._held.bytes + self._ledger.held_bytes

    def step(self, now: float) -> bool:
        """Turn's end, before it is written: so an answer leaves with this turn."""
        held = self._held.bytes + self._ledger.held_bytes
        clients = self._clients
        if held > self._tight_bytes:
            if not self._is_tight:
                self._is_tight = True
                clients.share_in_flight(TIGHT_SHARE)
            if held <= self._max_bytes:
                self._vain_at = -inf
            elif now >= self._vain_at + INTERVAL or held >= self._vain_bytes + self._max_bytes // 8:
                self._make_room(held, now)
        elif self._is_tight:
            self._is_tight = False
            clients.share_in_flight(1)
            self._vain_at = -inf
        if self._untold_bytes and now >= self._told_at + INTERVAL:
            self._tell(now)
        return False

    def _make_room(self, held: int, now: float) -> None:
        enough = self._max_bytes - self._max_bytes // 8
        self._abandon()
        asked = self._ledger.by_connection()
        found: list[tuple[int, Connection | None, Requester]] = []
        for connection in self._clients.connections.values():
            size = connection.held_bytes
            if size:
                found.append((size, connection, connection))
        for requester, entries in asked.items():
            size = sum(len(entry.event.payload) for entry in entries)
            if size:
                found.append((size, None, requester))
        found.sort(key=itemgetter(0), reverse=True)
        little = enough // max(1, len(found))
        ended = answered = 0
        for size, holder, requester in found:
            if size < little or self.held_bytes <= enough:
                break
            if holder is not None:
                holder.make_way()
                ended += 1
            if holder is None or holder.is_closed:  # what it asked goes with it
                entries = asked.pop(requester, [])
                self._refuse(entries)
                answered += len(entries)
        self._clients.counters.limits_hit[LIMIT] += ended + answered
        is_vain = not (ended or answered) and self.held_bytes > self._max_bytes
        self._vain_at, self._vain_bytes = (now, held) if is_vain else (-inf, 0)
        self._untold_bytes = max(self._untold_bytes, held)
        self._ended += ended
        self._answered += answered

    def _tell(self, now: float) -> None:
        """One line for all since the last one."""
        log.warning(
            "overloaded",
            held_bytes=self._untold_bytes,
            limit=self._max_bytes,
            ended=self._ended,
            answered=self._answered,
        )
        self._told_at = now
        self._untold_bytes = self._ended = self._answered = 0
