"""What a client is answered: replies to its requests, errors in their place, and what is said of its subscriptions.

The half of a connection that speaks, in the words of its adapter. Owns the count of requests without a reply. An
adapter that fails ends its connection, and nothing else.
"""

from collections.abc import Callable

import structlog

from holdfast.balancer.taken import ALL, NOT, PART, Taken
from holdfast.protocols.clients.base import ClientProtocol, KnowsChannels, KnowsJoins, ReplyHead, Subscribed
from holdfast.protocols.clients.events import Publish, Request, Subscribe, Unsubscribe
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.proxy.clients.reactor import READABLE, close_crashed
from holdfast.proxy.clients.session import House, Peer
from holdfast.proxy.clients.state import CLOSED, OPEN, State

log = structlog.get_logger("holdfast.connection")


class Answering(Peer):
    """See the module. All methods are called between or within turns of the reactor, on its thread.

    in_flight: requests that have no reply yet.
    """

    __slots__ = ("_answered", "_clients", "_taking", "protocol", "state")

    _answered: bool  # a request was answered within a call of _take
    _clients: House
    _taking: bool  # within such a call
    protocol: ClientProtocol
    state: State

    @property
    def is_closed(self) -> bool:
        """It takes no more replies and notifications."""
        return self.state is not OPEN

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call it once, when less than 64 KiB wait for the client, perhaps at once. Dropped with the connection."""
        self.transport.when_drained(callback)

    def _after_events(self, now: float) -> None:
        """The adapter's attributes are to be looked at. The other half's."""
        raise NotImplementedError

    def _continue(self, now: float) -> None:
        """Something was answered: go on with what was held back. The other half's."""
        raise NotImplementedError

    def reply(self, event: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        """A node's reply to `event`, or with `more` a part. Raises ProtocolError if it can't be said: then `fail`."""
        if self.state is not OPEN:
            return NOT
        try:
            data = self.protocol.reply(event, head, payload, is_text, more)
            is_part = more and not self.protocol.all_said
        except ProtocolError:
            raise
        except Exception:
            self.crashed()
            return NOT
        self.transport.write(data)
        if is_part:
            return PART
        self.in_flight -= 1  # the usual case, spelled out: as `_replied` would
        if self._taking:
            self._answered = True
        elif not self.transport.interest & READABLE:
            self._continue(self._clients.reactor.now)
        return ALL

    def fail(self, event: Request, error: HoldfastError) -> int:
        """A typed error in place of the reply. Returns how many bytes that took; 0: nothing can be said any more."""
        if self.state is not OPEN:
            return 0
        self._clients.counters.request_errors[error.reason] += 1
        try:
            data = self.protocol.error(event, error)
        except Exception:
            self.crashed()
            return 0
        self.transport.write(data)
        self._replied()
        return len(data)

    def _replied(self) -> None:
        self.in_flight -= 1
        if self._taking:  # answered at once, while its event is being taken
            self._answered = True
        elif not self.transport.interest & READABLE:  # something may have been held back
            self._continue(self._clients.reactor.now)

    # --- channels -------------------------------------------------------------------------------------------------

    def subscribed(self, event: Subscribe, said: Subscribed) -> None:
        self._answer(lambda protocol: protocol.subscribed(event, said))

    def published(self, event: Publish) -> None:
        self._answer(lambda protocol: protocol.published(event))

    def _answer(self, say: Callable[[KnowsChannels], bytes]) -> None:
        if self._tell(say):
            self._replied()

    def unsubscribed(self, event: Unsubscribe) -> None:
        self._tell(lambda protocol: protocol.unsubscribed(event))

    def dropped(self, channel: str, error: HoldfastError) -> None:
        if self._tell(lambda protocol: protocol.dropped(channel, error)):
            self.has_said()

    def has_said(self) -> None:
        """Its adapter has said something of which the end of what it was doing may have come."""
        protocol = self.protocol
        if protocol.has_more and self.state is OPEN:
            self.transport.set_wire_format(protocol.wire_format)
            self._after_events(self._clients.reactor.now)

    def joined(self, channel: str) -> None:
        if isinstance(self.protocol, KnowsJoins):
            protocol = self.protocol
            self._tell(lambda _: protocol.joined(channel))

    def left(self, channel: str) -> None:
        if isinstance(self.protocol, KnowsJoins):
            protocol = self.protocol
            self._tell(lambda _: protocol.left(channel))

    def _tell(self, say: Callable[[KnowsChannels], bytes]) -> bool:
        """False: nothing can be said any more."""
        if self.state is not OPEN:
            return False
        try:
            data = say(self.protocol)  # type: ignore[arg-type]  # who gives events of channels has the words for them
        except Exception:
            self.crashed()
            return False
        self.transport.write(data)
        return True

    # --- faults ---------------------------------------------------------------------------------------------------

    def crashed(self) -> None:
        """The guard of what others call here: an adapter's fault is its connection's end, and nobody else's."""
        reactor = self._clients.reactor
        if reactor.masses.admits("adapter_crashed", reactor.now):
            log.exception("adapter_crashed", protocol=self.protocol.name, client=f"{self.id:016x}")
        if self.state is not CLOSED:
            close_crashed(self.transport)
