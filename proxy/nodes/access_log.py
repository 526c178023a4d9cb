"""One log line per request, for those that are sampled. Off by default: a line costs more than the request."""

from collections.abc import Callable

import structlog

from holdfast.balancer.directory import Node
from holdfast.balancer.ledger import Entry
from holdfast.balancer.policies import Random
from holdfast.protocols.clients.events import HttpRequest
from holdfast.protocols.nodes.frames import Client


class AccessLog:
    """share: of requests that are logged, 0.0-1.0. Never a payload, never a query string. client_of: by id, what nodes
    have been told of a client."""

    def __init__(self, share: float, random: Random, client_of: Callable[[int], Client | None]) -> None:
        self._share = share
        self._random = random
        self._client_of = client_of
        self._taken: dict[int, Client] = {}  # by request
        self._log = structlog.get_logger("holdfast.access")

    def taken(self, entry: Entry) -> None:
        """What its handler did is done now, and then `replied` is called: its client may be closed by then."""
        client = self._client_of(entry.connection.id)
        if client is not None:
            self._taken[entry.id] = client

    def replied(
        self, entry: Entry, status: int, size: int, now: float, lost_node: Node | None = None, *, more: bool = False
    ) -> None:
        """more: this was a part, and others follow. lost_node: the node that it was with, and is not any more."""
        if entry.parts is not None:
            size = entry.parts.size = entry.parts.size + size
        if more:
            return
        client = self._taken.pop(entry.id, None)
        if self._random() >= self._share:
            return
        client = client or self._client_of(entry.connection.id)
        node = lost_node or entry.node
        self._log.info(
            "request",
            **who_asked(entry, client),
            status=status,
            request_bytes=len(entry.event.payload),
            reply_bytes=size,
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
    }
