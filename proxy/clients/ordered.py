"""A connection whose messages are handled one after the other: `client.ordered`.

None is given to a node before the former one has its reply, whichever nodes take them. What comes meanwhile waits here,
up to `client.max_in_flight` with the one that is asked; above it the client is not read. It is read until then, so that
its pings are answered, and its end is seen, while a node takes its time.
"""

from collections import deque

from holdfast.balancer.taken import Taken
from holdfast.protocols.clients.base import ReplyHead, Subscribed
from holdfast.protocols.clients.events import Publish, Request, Subscribe, Unsubscribe
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.clients.connection import Connection
from holdfast.proxy.clients.intake import size_of


class OrderedConnection(Connection):
    """For it `Shared.max_in_flight` is 1."""

    __slots__ = ()

    @property
    def _may_wait(self) -> bool:
        clients, outbox, waiting = self._clients, self.transport.outbox, self._waiting
        asked = self.in_flight + (0 if waiting is None else len(waiting))
        return asked < clients.max_asked and (outbox is None or outbox.size <= clients.max_outbox_bytes // 2)

    def _wait(self, event: Request | Unsubscribe) -> None:
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        waiting.append(event)
        self._clients.held.bytes += size_of(event)
        if self.in_flight + len(waiting) == self._clients.max_asked:
            self._clients.counters.limits_hit["client.max_in_flight"] += 1

    def reply(self, event: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        taken = super().reply(event, head, payload, is_text, more)
        self._next()
        return taken

    def fail(self, event: Request, error: HoldfastError) -> int:
        size = super().fail(event, error)
        self._next()
        return size

    def subscribed(self, event: Subscribe, said: Subscribed) -> None:
        super().subscribed(event, said)
        self._next()

    def published(self, event: Publish) -> None:
        super().published(event)
        self._next()

    def _next(self) -> None:
        """The one that is asked may have its reply: the next one's turn."""
        if self._waiting is not None and not self._taking:
            self._continue(self._clients.reactor.now)
