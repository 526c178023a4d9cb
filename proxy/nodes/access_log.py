"""One log line per request, for those that are sampled. Off by default: a line costs more than the request."""

from collections.abc import Callable

import structlog

from holdfast.balancer.directory import Node, Random
from holdfast.balancer.ledger import Entry
from holdfast.protocols.bodiless import is_bodiless
from holdfast.protocols.clients.events import HttpRequest
from holdfast.protocols.nodes.frames import Client

# As nginx has it: who asked had gone, or was closed, before all of the answer could be written.
CLIENT_GONE = 499


class AccessLog:
    """share: of requests that are logged, 0.0-1.0. Never a payload, never a query string. client_of: by id, what nodes
    have been told of a client."""

    def __init__(self, share: float, random: Random, client_of: Callable[[int], Client | None]) -> None:
        self._share = share
        self._random = random
        self._client_of = client_of
        self._taken: dict[int, Client] = {}  # by request
        self._left: dict[int, Client] = {}  # by id
        self._log = structlog.get_logger("holdfast.access")

    def taken(self, entry: Entry) -> None:
        """What its handler did is done now, and then `replied` is called: its client may be closed by then."""
        client = self._client_of(entry.connection.id)
        if client is not None:
            self._taken[entry.id] = client

    def leaves(self, client: int) -> None:
        """One whose requests are open. `abandoned` follows, with what it has left."""
        left = self._client_of(client)
        if left is not None:
            self._left[client] = left

    def abandoned(self) -> None:
        """What those have left who are gone has its lines."""
        self._left.clear()

    def replied(self, entry: Entry, status: int, size: int, now: float, *, more: bool, taken: bool) -> None:
        """size: of a reply, or with `more` of a part that others follow. taken: False if there is no client for it."""
        parts = entry.parts
        if parts is not None:
            status = parts.status or status
        if not taken:
            status = CLIENT_GONE
            size = 0
        elif isinstance(entry.event, HttpRequest) and is_bodiless(entry.event.method, status):
            size = 0
        if more and taken:
            assert parts is not None  # of a reply in parts
            parts.size += size
        else:
            self.failed(entry, status, size, now)

    def failed(self, entry: Entry, status: int, size: int, now: float, lost_node: Node | None = None) -> None:
        """size: what was written in place of the reply, or of its rest. lost_node: that it was with, and is no more."""
        client = self._taken.pop(entry.id, None)
        if self._random() >= self._share:
            return
        client_id = entry.connection.id
        node = lost_node or entry.node
        parts = entry.parts
        self._log.info(
            "request",
            **who_asked(entry, client or self._client_of(client_id) or self._left.get(client_id)),
            status=status,
            request_bytes=len(entry.event.payload),
            reply_bytes=size if parts is None else parts.size + size,
            seconds=round(now - entry.opened, 6),
            attempt=entry.attempt,
            node=node.id if node is not None else None,
        )


def who_asked(entry: Entry, client: Client | None) -> dict[str, object]:
    """What a log line says of a request, beside what came of it. client: of a message."""
    connection = entry.connection
    event = entry.event
    http = event if isinstance(event, HttpRequest) else None
    return {
        "request": entry.id,  # as the node's log has it
        "client": f"{connection.id:016x}",
        "address": http.address if http else client.address if client else None,
        "protocol": connection.protocol.name,
        "method": http.method if http else None,
        "path": http.target.partition("?")[0] if http else client.path if client else None,
        "route": entry.pool.route or None,
    }
