"""One log line per request, for those that are sampled. Off by default: a line costs more than the request."""

import structlog

from balancer.ledger import Entry
from balancer.policies import Random
from protocols.clients.events import HttpRequest


class AccessLog:
    """share: of requests that are logged, 0.0-1.0. Never a payload, never a query string."""

    def __init__(self, share: float, timeout: float, random: Random) -> None:
        self._share = share
        self._timeout = timeout
        self._random = random
        self._log = structlog.get_logger("holdfast.access")

    def replied(self, entry: Entry, status: int, size: int, now: float) -> None:
        if self._random() >= self._share:
            return
        connection = entry.connection
        event = entry.event
        http = event if isinstance(event, HttpRequest) else None
        self._log.info(
            "request",
            client=f"{connection.id:016x}",
            address=connection.address,
            protocol=connection.protocol.name,
            method=http.method if http else None,
            path=http.target.partition("?")[0] if http else None,
            status=status,
            request_bytes=len(event.payload),
            reply_bytes=size,
            seconds=round(now - (entry.deadline - self._timeout), 6),
            attempt=entry.attempt,
            node=entry.node.id if entry.node is not None else None,
        )
