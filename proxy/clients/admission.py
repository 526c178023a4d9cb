"""Who may open a session: a node is asked before it is open, and before anything is said to the client.

Owns whether there is anybody to ask. What waits for the answer is the connection's. A question is a request as any
other: parked while no node is there, sent again when one is lost, answered by its deadline; without an answer nobody is
let in.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

import structlog

from holdfast.balancer.calls import Call, Caller, check_whole
from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Entry, Requester
from holdfast.balancer.taken import ALL, NOT, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import Opened
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import FrameError, HoldfastError, ProtocolError, RequestError
from holdfast.protocols.nodes.calls import CONNECT, decode_admitted
from holdfast.protocols.nodes.frames import Client, encode_frame
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import Identity
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.admission")

LET_IN_TIME = 0.002  # of a turn: others wait so long for it


class Identifies(Protocol):
    """Who knows who somebody is, without a node: proxy.clients.tokens."""

    def identify(self, event: Opened) -> Identity:
        """Raises HoldfastError for whom it does not let in."""
        ...

    def renew(self, token: str, claims: bytes) -> float:
        """When a session ends that began with these claims, by a new token. Raises HoldfastError if not by that one."""
        ...

    def grant(self, token: str, user: str, channel: str) -> tuple[bytes, float]:
        """What a token says of a channel: see proxy.realtime.permits."""
        ...


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
    """The question for one of them. identity: who it is by its token, if it has one."""

    __slots__ = ("_connection", "_counters", "_identity", "_reactor", "id")

    def __init__(self, connection: Opening, identity: Identity, reactor: Reactor, counters: Counters) -> None:
        self.id = connection.id
        self._identity = identity
        self._reactor = reactor
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
        token = self._identity
        until = self._reactor.now + admitted.expires if admitted.expires else inf
        user, expires = admitted.user or token.user, min(until, token.expires)
        self._connection.admitted(Identity(user, admitted.data, token.claims, admitted.channels, expires, until))
        return ALL

    def let_in(self) -> bool:
        """Nobody asks for it any more. Returns whether it is in: it may have gone."""
        if self.is_closed:
            return False
        self._connection.admitted(self._identity)
        return True

    def fail(self, event: Call, error: HoldfastError) -> int:
        if not self.is_closed:
            is_word = error.reason is Reason.NODE_ERROR and error.http_status < 500
            if is_word and isinstance(error, RequestError):  # the node's, not its failure
                error = RequestError(str(error), Reason.REFUSED, error.retry_after, error.status, error.code)
            self._counters.admissions["refused" if is_word else "failed"] += 1
            self._connection.refused_entry(error)
        return 0


class Admission:
    """mode: "required": always asked; "auto": while nodes want to be. pool: of nodes that do. dispatch: where questions
    go. parked: those that wait for a node, by pool. Who has a token is asked for with what that says; its end is its
    session's, too.

    Who waits when nobody asks any more is let in, some in each turn: many have said something meanwhile.
    """

    def __init__(
        self,
        mode: str,
        pool: Pool,
        dispatch: Callable[[Requester, Call, Pool], None],
        parked: Mapping[Pool, Sequence[Entry]],
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self._is_required = mode == "required"
        self._pool = pool
        self._dispatch = dispatch
        self._parked = parked
        self._reactor = reactor
        self._counters = counters
        self._let_in = deque[Waiting]()
        self._has_let_in = False
        self._count = 0  # of those that are in, of whom no line says it yet

    @property
    def is_wanted(self) -> bool:
        """Whether a client has to be asked for."""
        return self._is_required or self._pool.is_wanted

    def tick(self) -> bool:
        """Let in who waits for an application that has come back without asking. Returns whether somebody was, since it
        was called last; the questions are left, as those of who has gone."""
        waiting = self._parked.get(self._pool)
        if waiting and not self._let_in and not self.is_wanted:
            asked = (entry.connection for entry in waiting if not entry.connection.is_closed)
            self._let_in.extend(each for each in asked if isinstance(each, Waiting))
            if self._let_in:
                self._go_on()
        has_let_in, self._has_let_in = self._has_let_in, False
        return has_let_in

    def _go_on(self) -> None:
        if self.is_wanted:  # again: whoever is left goes on waiting
            self._let_in.clear()
        until = self._reactor.clock() + LET_IN_TIME
        while self._let_in:
            self._count += self._let_in.popleft().let_in()
            self._has_let_in = True
            if self._reactor.clock() >= until:
                self._reactor.in_next_turn(self._go_on)
                return
        if self._count:
            log.warning("clients_let_in", clients=self._count, why="the application is back and asks no more")
            self._count = 0

    def ask(self, connection: Opening, opened: Opened, identity: Identity) -> None:
        """Have one of the nodes say. It may be said before this returns."""
        handshake = opened.protocol, opened.address, opened.path, opened.headers, opened.query
        client = Client(connection.id, *handshake, identity.user, identity.data, identity.claims)
        call = Call(CONNECT, client=connection.id, info=bytes(encode_frame(client)))
        self._dispatch(Waiting(connection, identity, self._reactor, self._counters), call, self._pool)
