"""Replies that come in parts: what each part means for its node.

The node may send as much again once the client has taken it. A reply is what it began with, however its last part is
labelled: so the access log has it, and a request is a success or a failure of its node once, not with each part.
"""

from collections.abc import Callable

from holdfast.balancer.directory import Node
from holdfast.balancer.ledger import Entry, Ledger, Parts
from holdfast.balancer.taken import NOT, PART, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.nodes import frames
from holdfast.proxy.clients.reactor import Reactor


class Streamed:
    """window: bytes that a node may send ahead of the client. strike: the node has failed with the request."""

    def __init__(self, ledger: Ledger, reactor: Reactor, window: int, strike: Callable[[Node, Entry], None]) -> None:
        self._ledger = ledger
        self._reactor = reactor
        self._step = max(1, window // 4)  # not a frame for each small part; a node never waits for it
        self._strike = strike

    def said(self, node: Node, entry: Entry, head: ReplyHead | None, size: int, taken: Taken) -> bool:
        """A part of so many bytes was given to the client, and by its node others follow. False: that is all the same,
        since nothing can be said after it."""
        parts = entry.parts
        assert parts is not None  # this is one
        if not parts.status:
            status = 200 if head is None else head.status
            if status >= 500:
                self._strike(node, entry)
            parts.status = status
        if taken is PART:
            self._give_credit(node, entry, parts, size)
            return True
        # Else it would hold its place for as long as the node goes on, and nobody would hear of it.
        self._ledger.cancel([entry])
        node.link.send(frames.Cancel(entry.id, entry.attempt))
        return taken is NOT

    def _give_credit(self, node: Node, entry: Entry, parts: Parts, size: int) -> None:
        is_waiting = parts.untaken > 0
        parts.untaken += size
        if size and not is_waiting:
            entry.connection.when_drained(lambda: self._taken(node, entry, parts))

    def _taken(self, node: Node, entry: Entry, parts: Parts) -> None:
        count, parts.untaken = parts.untaken, 0
        if self._ledger.find(entry.id, entry.attempt, node) is not entry:
            return
        self._ledger.prolong(entry, parts, self._reactor.now)
        parts.owed += count
        if parts.owed >= self._step:
            node.link.send(frames.Taken(entry.id, entry.attempt, parts.owed))
            parts.owed = 0
