"""Who may open a session: a node is asked before it is open, and before anything is said to the client.

Owns whether there is anybody to ask. What waits for the answer is the connection's. A question is a request as any
other: parked while no node is there, sent again when one is lost, answered by its deadline; without an answer nobody is
let in.
"""

from collections.abc import Callable
from typing import Protocol

from holdfast.balancer.calls import Call, Caller, check_whole
from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Requester
from holdfast.balancer.taken import ALL, NOT, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import Opened
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
    def is_opening(self) -> bool:
        """It waits, and has not been closed meanwhile."""
        ...

    def admitted(self, identity: Identity) -> None:
        """It may, as this client."""
        ...

    def refused_entry(self, error: HoldfastError) -> None:
        """It may not."""
        ...


class Waiting(Caller):
    """The question for one of them."""

    __slots__ = ("_connection", "_counters", "id")

    def __init__(self, connection: Opening, counters: Counters) -> None:
        self.id = connection.id
        self._connection = connection
        self._counters = counters

    @property
    def is_closed(self) -> bool:
        return not self._connection.is_opening

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if self.is_closed:
            return NOT
        check_whole(head, more=more)
        try:
            admitted = decode_admitted(payload or b"")
        except FrameError as error:
            raise ProtocolError(str(error), Reason.BAD_REPLY) from error
        self._counters.admissions["admitted"] += 1
        identity = Identity(admitted.user, admitted.data, b"", admitted.channels, admitted.expires)
        self._connection.admitted(identity)
        return ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        if not self.is_closed:
            self._counters.admissions["refused" if error.http_status < 500 else "failed"] += 1
            self._connection.refused_entry(error)
        return 0


class Admission:
    """mode: "required": always asked; "auto": while nodes want to be. pool: of nodes that do. dispatch: where questions
    go.
    """

    def __init__(
        self,
        mode: str,
        pool: Pool,
        dispatch: Callable[[Requester, Call, Pool], None],
        counters: Counters,
    ) -> None:
        self._is_required = mode == "required"
        self._pool = pool
        self._dispatch = dispatch
        self._counters = counters

    @property
    def is_wanted(self) -> bool:
        """Whether a client has to be asked for."""
        return self._is_required or self._pool.is_wanted

    def ask(self, connection: Opening, opened: Opened) -> None:
        """Have one of the nodes say. It may be said before this returns."""
        client = Client(connection.id, opened.protocol, opened.address, opened.path, opened.headers, opened.query)
        call = Call(CONNECT, client=connection.id, info=bytes(encode_frame(client)))
        self._dispatch(Waiting(connection, self._counters), call, self._pool)
