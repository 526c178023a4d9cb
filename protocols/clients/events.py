"""What an adapter tells the proxy: the events that come out of `receive_data` and `on_deadline`.

The vocabulary is closed: the proxy knows these and nothing else of any protocol. Structs without
garbage-collector tracking: one is made per message (0.1 us), and none can be part of a cycle.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position

SAFE_OR_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 section 9.2


class Message(Struct, gc=False):
    """A message of a message protocol (WebSocket, ...): one request to a node, one reply to come.

    `context` is the adapter's own (an acknowledgement id, a reply topic): the same event is handed back to it
    with the reply. Text is valid UTF-8: the adapter has checked it.
    """

    payload: bytes
    is_text: bool
    context: Any = None

    @property
    def redeliverable(self) -> bool:
        """Whether another node may get it when the first one is lost with it."""
        return True


class HttpRequest(Struct, gc=False):
    """A whole HTTP request, body decoded. One at a time per connection: the next comes after the reply.

    target: path and query as on the request line, unparsed, without the host that it may have there. headers:
    lower-case names, in order, without hop-by-hop ones. address: the client's, as the adapter was given it or as a
    trusted peer named another one (X-Forwarded-For). user, claims: who the client is, as protocols.nodes.frames.Client
    has it; the proxy says that, and no adapter.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    payload: bytes
    address: str = ""
    user: str = ""
    claims: bytes = b""

    @property
    def redeliverable(self) -> bool:
        """As of Message: only what is safe or idempotent by its method."""
        return self.method in SAFE_OR_IDEMPOTENT


class Subscribe(Struct, gc=False):
    """The client wants what is published to a channel. Answered once: by `subscribed` of its adapter, or by `error`.

    since: it has all up to there, and is to get what came after that first; None: from now on. payload: what it says to
    whoever decides whether it may; token: what shows that it may. is_filter: `channel` is a topic filter (`+`, `#`),
    for all channels that match it. context: the adapter's own, as of Message.
    """

    channel: str
    since: Position | None = None
    payload: bytes = b""
    token: str = ""
    is_filter: bool = False
    context: Any = None

    @property
    def redeliverable(self) -> bool:
        """As of Message."""
        return True


class Unsubscribe(Struct, gc=False):
    """It wants no more of that. Answered at once, by `unsubscribed`, whether it had subscribed or not."""

    channel: str
    is_filter: bool = False
    context: Any = None


class Publish(Struct, gc=False):
    """The client publishes to a channel, if a node says that it may. Answered once: by `published`, or by `error`."""

    channel: str
    payload: bytes
    is_text: bool
    context: Any = None

    @property
    def redeliverable(self) -> bool:
        """As of Message."""
        return True


class Refresh(Struct, gc=False):
    """The client shows a new token, so that its session goes on. Answered at once: by `refreshed` of its adapter, or by
    `not_refreshed`. context: the adapter's own, as of Message."""

    token: str
    context: Any = None


class Opened(Struct, gc=False):
    """A session has begun: from now on the connection is a client that every node knows.

    Comes at most once per connection, or again after a Closed, and before whatever tells the client that it has:
    perhaps it may not. headers: of the handshake, lower-case names. address: as of HttpRequest. query: what came with
    the path; it may hold secrets, and is not shown or logged. refuse: makes the last bytes of a connection that may
    not, from the error that says why; what came after this is not looked at then. None: it is told by `close`, after
    these.
    """

    protocol: str
    path: str
    headers: list[tuple[str, str]]
    address: str = ""
    query: str = ""
    refuse: Callable[[HoldfastError], bytes] | None = None


class Closed(Struct, gc=False):
    """The session is over, and the connection goes on: another may begin. As a stream over HTTP that has ended.

    Only after Opened, and when each request has had its answer. What nobody has said it to yet is not said any more.
    """


class Output(Struct, gc=False):
    """Bytes for the client that no node caused: a handshake's answer, a pong, 100-continue, a refusal."""

    data: bytes


class Switch(Struct, gc=False):
    """The connection speaks another protocol from here on. `data` is what already came for it."""

    protocol: Any  # a ClientProtocol; not typed so, to keep this file free of a cycle
    data: bytes


class Silent(Struct, gc=False):
    """Nothing has come for as long as the adapter waits. Its deadline is set anew.

    Whether that is an end the proxy knows: a peer that is still taking what it was sent is alive, and its answer to a
    ping comes after that. Of one that takes nothing, the adapter's `close` is called, with Reason.IDLE.
    """

    detail: str


class Finished(Struct, gc=False):
    """The connection is over: write what is queued, then close the transport.

    Comes after the adapter's own last Output (close frame, error response), exactly once.
    A limit or an error of the protocol is told here too: it is data, not an exception, because it is normal.
    is_broken: what was being said has no end, and the peer must not take the connection's for it: reset the transport.
    """

    reason: Reason
    detail: str = ""
    is_broken: bool = False


Request = Message | HttpRequest | Subscribe | Publish
Event = (
    Message
    | HttpRequest
    | Subscribe
    | Unsubscribe
    | Publish
    | Refresh
    | Opened
    | Closed
    | Output
    | Switch
    | Silent
    | Finished
)
