"""What the log says of requests that have gone wrong, without anybody's asking: who asked, and what came of it.

A mass of them is few lines. Says nothing of what a node's handler says itself, nor of what a limit refuses.
"""

from collections.abc import Callable

import structlog

from holdfast.balancer.directory import Node
from holdfast.balancer.ledger import Entry
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes.frames import Client
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.nodes.access_log import who_asked

log = structlog.get_logger("holdfast.dispatch")


class Troubles:
    """client_of: by id, what nodes have been told of a client."""

    def __init__(self, reactor: Reactor, client_of: Callable[[int], Client | None]) -> None:
        self._reactor = reactor
        self._client_of = client_of

    def timed_out(self, entry: Entry, reason: Reason) -> None:
        now = self._reactor.now
        since = entry.opened if entry.parts is None else entry.parts.since
        if self._reactor.masses.admits("request_timed_out", now):
            log.warning(
                "request_timed_out",
                **self._who_asked(entry),
                reason=reason.value,
                seconds=round(now - since, 3),
                attempt=entry.attempt,
                node=None if entry.node is None else entry.node.id,
            )

    def bad_reply(self, entry: Entry, node: Node, why: str) -> None:
        if self._reactor.masses.admits("bad_reply", self._reactor.now):
            log.warning("bad_reply", **self._who_asked(entry), attempt=entry.attempt, node=node.id, why=why)

    def quarantined(self, entry: Entry, node: Node) -> None:
        """It may well be what its nodes die of. Whoever sends it should be known by then."""
        log.error("request_quarantined", **self._who_asked(entry), attempts=entry.attempt, node=node.id)

    def _who_asked(self, entry: Entry) -> dict[str, object]:
        return who_asked(entry, self._client_of(entry.connection.id))
