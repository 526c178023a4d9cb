"""The seam of client protocols: what an adapter is, and where adapters register.

An adapter is a sans-I/O object, one per connection, in the manner of h11 and wsproto. It knows no socket, no
clock and no task. The proxy calls it from one task only. The conformance kit (protocols.clients.conformance)
tests any adapter against what is written here.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import ClassVar, Final, Protocol, runtime_checkable

from msgspec import Struct

from holdfast.protocols.clients.events import Event, Opened, Publish, Refresh, Request, Subscribe, Unsubscribe
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication

ENTRY_POINTS = "holdfast.protocols"

# Frames, chunks, whatever a protocol is made of: 64 KiB hold 10,900 of them, 80 ms of work. So many at a time cost less
# than half a millisecond, and more than honest clients send at once.
UNITS_PER_CALL: Final = 64
# What is inflated counts too: so many bytes as one of them.
INFLATED_BYTES_PER_UNIT: Final = 4 << 10


class Limits(Struct, frozen=True):
    """What the `client` section of the configuration lets an adapter do. Sizes in bytes, times in seconds."""

    max_message_bytes: int = 1 << 20  # one message, after decompression
    max_header_bytes: int = 16 << 10  # request line and headers of an HTTP request
    max_headers: int = 100
    max_target_bytes: int = 8 << 10
    max_body_bytes: int = 8 << 20  # HTTP body, after decompression
    max_encoding_layers: int = 3
    handshake_timeout: float = 10.0  # first byte of a request's header to its last; also a silent new connection
    body_timeout: float = 30.0  # first byte of a body or message to its last
    keepalive_timeout: float = 75.0  # idle HTTP connection between requests
    ping_interval: float = 25.0  # a silent session is pinged; 0: never
    ping_timeout: float = 20.0  # and closed when nothing comes for so long after the ping
    close_timeout: float = 5.0  # for the peer's part of a closing handshake
    application_ping: bool = True  # {"p":1} is answered {"p":2} and reaches no node
    origins: tuple[str, ...] = ("*",)  # allowed Origin values; "*" allows all, also none
    subprotocols: tuple[str, ...] = ()  # in order of preference; empty: the client's first one is taken
    doors: tuple[str, ...] = ()  # "NAME:/PATH", where another protocol is spoken within WebSocket
    compression: bool = False  # permessage-deflate
    trusted_peers: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed


class ReplyHead(Struct, gc=False):
    """Status and headers that a node gave with a reply. Protocols without them ignore it."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()


@runtime_checkable
class ClientProtocol(Protocol):
    """One connection's protocol.

    Attributes, read by the proxy after each call:

    deadline     time (same clock as `now`) at which `on_deadline` is to be called; inf: never. An attribute and
                 not a method because it is compared once per read. It may be early: `on_deadline` looks itself.
    paused       True while the adapter can't take more data (an HTTP request is with a node, or has_more): the proxy
                 stops reading the socket; bytes wait in the kernel.
    has_more     True when a call has ended before all that had come was looked at, because that is more than
                 UNITS_PER_CALL: `resume` goes on with it in another turn, in which others have had theirs. `paused` is
                 True with it. Until then nothing is received, the end of file included.
    held_bytes   what the adapter keeps of what has come and is in no event yet: parts of a body or message, what they
                 inflate to, what is put off. All clients together have a limit (`client.max_buffered_bytes`), and those
                 that hold the most make way. To within a few KiB; 0 after `Finished`. It may be a property.
    all_said     True after a call of `reply` with `more` that has said all that can be said even so, as the head of an
                 HTTP reply that has no body: the request is answered, and no further part of it is given. False for
                 the class where parts may always follow.
    eventless    how many frames or the like it has looked at, since it was made, that gave no event, as a pong or a
                 part of a message: they count for `client.max_message_rate`. 0 for the class where there are none.
    wire_format  adapters with equal wire_format encode a notification to identical bytes, so that a fan-out
                 encodes once per format. None: this connection's bytes are its own.

    Bytes that a method returns are to be written in the order of the calls.
    """

    name: ClassVar[str]
    deadline: float
    paused: bool
    has_more: bool
    eventless: int
    wire_format: object

    @property
    def held_bytes(self) -> int:
        """See above."""
        ...

    @property
    def all_said(self) -> bool:
        """See above."""
        ...

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take what the socket gave; b"" is end of file. Events in the order they happened. Never raises.

        Looks at no more than UNITS_PER_CALL frames or the like, whether they give events or not: see has_more.
        """
        ...

    def on_deadline(self, now: float) -> Sequence[Event]:
        """`deadline` has come. May return nothing (it was early), a ping as Output, Silent, or the end."""
        ...

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes:
        """The reply to `request`, or with `more` a part of it: see `all_said`. None: nothing is to be said; without
        `more` the request is answered all the same, or its parts have their end. Where a protocol must answer, it is as
        an empty payload.

        Raises ProtocolError (BAD_REPLY) if it can't be said.
        """
        ...

    def error(self, request: Request, error: HoldfastError) -> bytes:
        """A typed error in place of the reply to `request`, with the client's own request id if it can be found."""
        ...

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        """A message that no request asked for. b"" if the protocol has no way to say it."""
        ...

    def resume(self, now: float) -> Sequence[Event]:
        """After a reply ended a pause, or for what it has more: events of the data that had come already."""
        ...

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        """Begin to end the connection: its last bytes. `Finished` follows, from the peer's answer or `deadline`.

        With DRAINING a request that is still arriving may come whole and be answered. Where that has its time the proxy
        says so again, when it waits no longer: then such a request is answered with the reason, or not at all. For any
        other reason that is so at once. A call that has nothing new to say gives b"" and does not put off the end.
        """
        ...


@runtime_checkable
class ClosesWithCode(Protocol):
    """What an adapter has besides if its protocol knows WebSocket's close codes."""

    def close_with(self, code: int, reason: Reason, detail: str, now: float) -> bytes:
        """As `close`, with a code that a node has chosen, 4000 to 4999, in place of the reason's own."""
        ...


@runtime_checkable
class KnowsAddress(Protocol):
    """What an adapter has besides if its protocol tells who is behind a balancer. For the log, before and without a
    session; client_address: "host:port", of who has asked last."""

    client_address: str


class Subscribed(Struct, gc=False):
    """What is said of a subscription that is granted.

    position: where the client is when it has `missed`; None: the channel has no history. recovered: whether it has,
    with `missed`, all that came after the position that it named; None: it named none. detail: why not. missed: the
    oldest first. info: what the node that was asked says of it, as JSON; b"": nothing. expires: seconds until it ends,
    unless the client shows a new token; None: it does not.
    """

    channel: str
    position: Position | None = None
    recovered: bool | None = None
    missed: Sequence[Publication] = ()
    detail: str = ""
    info: bytes = b""
    expires: float | None = None


@runtime_checkable
class KnowsChannels(Protocol):
    """What an adapter has besides if its protocol has words for channels: then it may give Subscribe, Unsubscribe and
    Publish, and is told which channel a notification is of. Others get the bare message, by `notification`."""

    def subscribed(self, request: Subscribe, said: Subscribed) -> bytes:
        """The subscription is granted. What is published from now on follows, in the order of offsets."""
        ...

    def unsubscribed(self, request: Unsubscribe) -> bytes:
        """Nothing of that channel follows."""
        ...

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        """A subscription is over, by no wish of the client: why. error.reason.retryable: it may subscribe again at
        once, with the position it is at, as after a gap that could not be closed."""
        ...

    def published(self, request: Publish) -> bytes:
        """It is, to all that its proxy has; what others have is under way."""
        ...

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        """A message that was published to a channel. epoch: of its log; "": it has none. Like `notification` it is
        encoded once for all with the same wire format, and b"" if the protocol has no way to say it."""
        ...


@runtime_checkable
class KnowsJoins(Protocol):
    """What an adapter has besides KnowsChannels if its protocol tells a client of channels in which a node has it."""

    def joined(self, channel: str) -> bytes:
        """A node has it in a channel: what is published there follows. Not of those with which its session begins."""
        ...

    def left(self, channel: str) -> bytes:
        """No node has, any more: nothing of that channel follows."""
        ...


class Begun(Struct, gc=False):
    """What is said of a session that has begun.

    client: its id, as nodes know it. channels: it is in them from the beginning. expires: seconds until it ends, unless
    the client shows a new token; None: it does not, or no token can put it off.
    """

    client: int
    channels: Sequence[str] = ()
    expires: float | None = None


@runtime_checkable
class KnowsSession(Protocol):
    """What an adapter has besides if its protocol has words for sessions: then these tell the client that its own
    stands, and an Output after Opened need not. Only with them it may give Refresh."""

    def begun(self, opened: Opened, said: Begun) -> bytes:
        """The session has begun. Before whatever else is written that came of it."""
        ...

    def refreshed(self, request: Refresh, expires: float | None) -> bytes:
        """The token is good, and the session ends in so many seconds; None: it does not."""
        ...

    def not_refreshed(self, request: Refresh, error: HoldfastError) -> bytes:
        """It is not, and the session ends when it would have ended."""
        ...


class ProtocolFactory(Protocol):
    """Makes an adapter for a new connection. Registered under its class's `name`."""

    name: str

    def __call__(self, limits: Limits, address: str, now: float) -> ClientProtocol: ...


def registered() -> dict[str, ProtocolFactory]:
    """Every installed protocol by name: built-in ones and those of the entry-point group holdfast.protocols."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}
