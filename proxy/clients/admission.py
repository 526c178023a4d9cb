"""Who may open a session: a node is asked before it is open, and before anything is said to the client.

Owns whether there is anybody to ask, and what waits for the answer: the event with which the adapter has said that a
session would begin, and those after it. A question is a request as any other: parked while no node is there, sent again
when one is lost, answered by its deadline; without an answer nobody is let in.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

from holdfast.balancer.calls import Call, Caller, Wish
from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Requester
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import Event, Opened
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import FrameError, HoldfastError, ProtocolError
from holdfast.protocols.nodes.calls import CONNECT, decode_admitted
from holdfast.protocols.nodes.frames import Client, encode_frame
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import Identity
from holdfast.proxy.metrics import Counters


class Identifies(Protocol):
    """Who knows who somebody is, without a node: proxy.clients.tokens."""

    def identify(self, event: Opened) -> Identity:
        """Raises HoldfastError for whom it does not let in."""
        ...


class Opening(Protocol):
    """A connection whose session may begin: proxy.clients.connection."""

    id: int

    @property
    def is_closed(self) -> bool: ...

    def admitted(self, opened: Opened, rest: Sequence[Event], identity: Identity) -> None:
        """It may, as this client. rest: the adapter's events after that."""
        ...

    def refused_entry(self, opened: Opened, rest: Sequence[Event], error: HoldfastError) -> None: ...


class Waiting(Caller):
    """One that waits. opened, rest: as of Opening. identity: who it is by its token, if it has one."""

    __slots__ = ("_connection", "_counters", "_identity", "_opened", "_reactor", "_rest", "id")

    def __init__(
        self,
        connection: Opening,
        opened: Opened,
        rest: Sequence[Event],
        identity: Identity,
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self.id = connection.id
        self._identity = identity
        self._reactor = reactor
        self._connection = connection
        self._opened = opened
        self._rest = rest
        self._counters = counters

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> bool:
        if self._connection.is_closed:
            return False
        if more:
            raise ProtocolError("who a client is has no parts", Reason.BAD_REPLY)
        try:
            admitted = decode_admitted(payload or b"")
        except FrameError as error:
            raise ProtocolError(str(error), Reason.BAD_REPLY) from error
        self._counters.admissions["admitted"] += 1
        token = self._identity
        until = self._reactor.now + admitted.expires if admitted.expires else inf
        user, expires = admitted.user or token.user, min(until, token.expires)
        identity = Identity(user, admitted.data, token.claims, admitted.channels, expires)
        self._connection.admitted(self._opened, self._rest, identity)
        return True

    def fail(self, event: Call, error: HoldfastError) -> int:
        if not self._connection.is_closed:
            self._counters.admissions["refused" if error.http_status < 500 else "failed"] += 1
            self._connection.refused_entry(self._opened, self._rest, error)
        return 0


class Admission:
    """mode: "required": always asked; "auto": while nodes want to be. pool: of nodes that do, wish: whether any does.
    dispatch: where questions go. Who has a token is asked for with what that says; its end is its session's, too.
    """

    def __init__(
        self,
        mode: str,
        pool: Pool,
        wish: Wish,
        dispatch: Callable[[Requester, Call, Pool], None],
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self._is_required = mode == "required"
        self._pool = pool
        self._wish = wish
        self._dispatch = dispatch
        self._reactor = reactor
        self._counters = counters

    @property
    def is_wanted(self) -> bool:
        """Whether a client has to be asked for."""
        return self._is_required or bool(self._wish)

    def ask(self, connection: Opening, opened: Opened, rest: Sequence[Event], identity: Identity) -> None:
        """Have one of the nodes say. It may be said before this returns."""
        handshake = opened.protocol, opened.address, opened.path, opened.headers, opened.query
        client = Client(connection.id, *handshake, identity.user, identity.data, identity.claims)
        call = Call(CONNECT, client=connection.id, info=bytes(encode_frame(client)))
        waiting = Waiting(connection, opened, rest, identity, self._reactor, self._counters)
        self._dispatch(waiting, call, self._pool)
