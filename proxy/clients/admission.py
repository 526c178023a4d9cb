"""Who may open a session: a node is asked before it is open, and before anything is said to the client.

Owns whether there is anybody to ask, and what waits for the answer: the event with which the adapter has said that a
session would begin, and those after it. A question is a request as any other: parked while no node is there, sent again
when one is lost, answered by its deadline; without an answer nobody is let in.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from holdfast.balancer.calls import Call, Caller, Wish
from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Requester
from holdfast.balancer.taken import ALL, NOT, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import Event, Opened
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import FrameError, HoldfastError, ProtocolError
from holdfast.protocols.nodes.calls import CONNECT, decode_admitted
from holdfast.protocols.nodes.frames import Client, encode_frame
from holdfast.proxy.clients.session import Identity
from holdfast.proxy.metrics import Counters


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
    """One that waits. opened, rest: as of Opening."""

    __slots__ = ("_connection", "_counters", "_opened", "_rest", "id")

    def __init__(self, connection: Opening, opened: Opened, rest: Sequence[Event], counters: Counters) -> None:
        self.id = connection.id
        self._connection = connection
        self._opened = opened
        self._rest = rest
        self._counters = counters

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if self._connection.is_closed:
            return NOT
        if more:
            raise ProtocolError("who a client is has no parts", Reason.BAD_REPLY)
        try:
            admitted = decode_admitted(payload or b"")
        except FrameError as error:
            raise ProtocolError(str(error), Reason.BAD_REPLY) from error
        self._counters.admissions["admitted"] += 1
        identity = Identity(admitted.user, admitted.data, b"", admitted.channels, admitted.expires)
        self._connection.admitted(self._opened, self._rest, identity)
        return ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        if not self._connection.is_closed:
            self._counters.admissions["refused" if error.http_status < 500 else "failed"] += 1
            self._connection.refused_entry(self._opened, self._rest, error)
        return 0


class Admission:
    """mode: "required": always asked; "auto": while nodes want to be. pool: of nodes that do, wish: whether any does.
    dispatch: where questions go.
    """

    def __init__(
        self,
        mode: str,
        pool: Pool,
        wish: Wish,
        dispatch: Callable[[Requester, Call, Pool], None],
        counters: Counters,
    ) -> None:
        self._is_required = mode == "required"
        self._pool = pool
        self._wish = wish
        self._dispatch = dispatch
        self._counters = counters

    @property
    def is_wanted(self) -> bool:
        """Whether a client has to be asked for."""
        return self._is_required or bool(self._wish)

    def ask(self, connection: Opening, opened: Opened, rest: Sequence[Event]) -> None:
        """Have one of the nodes say. It may be said before this returns."""
        client = Client(connection.id, opened.protocol, opened.address, opened.path, opened.headers, opened.query)
        call = Call(CONNECT, client=connection.id, info=bytes(encode_frame(client)))
        self._dispatch(Waiting(connection, opened, rest, self._counters), call, self._pool)
