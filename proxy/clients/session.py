"""A client as nodes know it: what joins channels, is told to nodes, and is named by its id.

Owns nothing but its place between the two sides. A session begins when its protocol says so and ends with its
connection; requests over HTTP have none. What is to be said to it goes through its connection.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple, Protocol

from holdfast.balancer.ledger import Requester
from holdfast.balancer.routes import Plan
from holdfast.protocols.clients.base import Subscribed
from holdfast.protocols.clients.events import Opened, Publish, Request, Subscribe, Unsubscribe
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.clients.shared import Owner, Shared
from holdfast.proxy.clients.transport import Transport
from holdfast.proxy.clients.wheel import Wheel


class Peer(Owner):
    """A connection, as its session and the others know it. session: None before its protocol opens one, and from the
    moment it leaves OPEN."""

    __slots__ = ("session", "transport")

    session: "Session | None"
    transport: Transport

    timer: float

    @property
    def outbox_bytes(self) -> int:
        return self.transport.outbox_bytes

    def on_timer(self, now: float) -> None:
        """The wheel has come round to it."""
        raise NotImplementedError

    @property
    def is_closed(self) -> bool:
        """Nothing is said to it any more."""
        raise NotImplementedError

    def fail(self, event: Request, error: HoldfastError) -> int:
        """A typed error in place of the reply. Returns how many bytes that took."""
        raise NotImplementedError

    def subscribed(self, event: Subscribe, said: Subscribed) -> None:
        """Its subscription is granted: the answer to that."""
        raise NotImplementedError

    def unsubscribed(self, event: Unsubscribe) -> None:
        """It is not subscribed: the answer to that."""
        raise NotImplementedError

    def published(self, event: Publish) -> None:
        """What it published is: the answer to that."""
        raise NotImplementedError

    def dropped(self, channel: str, error: HoldfastError) -> None:
        """Its subscription is over, by no wish of its own."""
        raise NotImplementedError

    def joined(self, channel: str) -> None:
        """A node has its session in a channel."""
        raise NotImplementedError

    def left(self, channel: str) -> None:
        """No node has, any more."""
        raise NotImplementedError

    def expire_in(self, seconds: float) -> None:
        """Its session ends then, whatever it does; inf: never. Not what was said of that before."""
        raise NotImplementedError


class Identity(NamedTuple):
    """Who a client is, as its token and its admission say: see protocols.nodes.frames.Client and calls.Admitted.
    expires: when its session ends, by the reactor's clock; inf: never. until: the same by the word of a node, which no
    new token puts off."""

    user: str = ""
    data: bytes = b""
    claims: bytes = b""
    channels: Sequence[str] = ()
    expires: float = inf
    until: float = inf


NOBODY = Identity()


class Session:
    """id: its name in the whole cluster. channels: what it has joined, and by which version (see Join); None until the
    first. since: when it opened. expires, until: when it ends, as of Identity. plan: which routes its messages may
    take, proxy.nodes.router's."""

    __slots__ = ("channels", "connection", "expires", "id", "plan", "since", "until")

    def __init__(self, id: int, connection: Peer, now: float, expires: float, until: float = inf) -> None:
        self.id = id
        self.connection = connection
        self.channels: dict[str, int] | None = None
        self.since = now
        self.expires = expires
        self.until = until
        self.plan: Plan | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id:016x}>"

    def close(self, reason: Reason, detail: str = "", code: int = 0) -> None:
        """End it, and its connection as the protocol does that. code: of a WebSocket; 0: that of the reason."""
        self.connection.close(reason, detail, code)


class Subscribing(Protocol):
    """Who takes what clients ask of channels: proxy.realtime.subscriptions. Each is answered once: by the method of the
    connection with that name, or by `fail`; at once or later. What a connection asks comes in its order."""

    def subscribe(self, connection: Peer, event: Subscribe) -> None: ...

    def unsubscribe(self, connection: Peer, event: Unsubscribe) -> None: ...

    def publish(self, connection: Peer, event: Publish) -> None: ...

    def ended(self, session: "Session") -> None:
        """A session is over, and its connection goes on: what is being written to its channels is not for that."""
        ...


class House(Shared):
    """Whom a connection tells of its sessions, its requests and its end: proxy.clients.clients.

    wheel: its timers. nowhere: in place of a transport that is closed. has_abandoned: somebody has gone who had
    asked something. dispatch: where requests go. subscribing: where what is asked of channels goes.
    """

    wheel: Wheel
    nowhere: Transport
    has_abandoned: bool
    dispatch: Callable[[Requester, Request], None]
    subscribing: Subscribing

    def opened(self, session: Session, event: Opened, identity: Identity) -> None:
        """A session has begun."""
        raise NotImplementedError

    def renew(self, session: Session, token: str) -> None:
        """Its client shows a new token, and it goes on for as long as that says. Raises HoldfastError if not."""
        raise NotImplementedError

    @property
    def asks_for_admission(self) -> bool:
        """Whether somebody is to be asked before a session begins: by `ask_for_admission`."""
        raise NotImplementedError

    def ask_for_admission(self, connection: "Peer", event: Opened) -> None:
        """See proxy.clients.admission."""
        raise NotImplementedError

    def closed(self, connection: Peer, session: Session | None, reason: Reason, detail: str, code: int) -> None:
        """A connection has left OPEN: nothing more is for it. session: the one that it had. detail, code: for logs."""
        raise NotImplementedError

    def ended_session(self, connection: Peer, session: Session) -> None:
        """It is over, and its connection goes on: by another id, since the next session on it is another client."""
        raise NotImplementedError

    def forget(self, connection: Peer) -> None:
        """Its descriptor is closed."""
        raise NotImplementedError
