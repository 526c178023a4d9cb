"""The frames of the node link, version 1: msgpack arrays `[type, ...]`, and the batch that carries them.

One ZeroMQ message is one batch: `[number, [frame, ...]]`, numbered from 1 per direction and session, so that a
lost, doubled or foreign batch is seen at the next one. docs/node-protocol.md is the specification; its test
vectors (tests/protocols/nodes/vectors.json) are made from this file and checked against it.

Field order is the wire order. New fields go to the end with a default: an old peer ignores what it does not
know, a new one fills in what is missing. Ids of clients are 64-bit; packed lists of them are little-endian.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.announcements import Changes as Changes
from holdfast.protocols.nodes.announcements import Client as Client
from holdfast.protocols.nodes.announcements import Clients as Clients
from holdfast.protocols.nodes.announcements import Closed as Closed
from holdfast.protocols.nodes.announcements import Due as Due
from holdfast.protocols.nodes.announcements import Opened as Opened
from holdfast.protocols.nodes.announcements import decode_client as decode_client
from holdfast.protocols.nodes.calls import Answered as Answered
from holdfast.protocols.nodes.calls import Ask as Ask
from holdfast.protocols.nodes.calls import Call as Call
from holdfast.protocols.nodes.calls import Takes
from holdfast.protocols.nodes.counting import AskCount as AskCount
from holdfast.protocols.nodes.counting import Counted as Counted
from holdfast.protocols.nodes.effects import MAX_EFFECTS, MAX_OWED, Owed
from holdfast.protocols.nodes.effects import Ack as Ack
from holdfast.protocols.nodes.effects import AsMaster as AsMaster
from holdfast.protocols.nodes.effects import Broadcast as Broadcast
from holdfast.protocols.nodes.effects import CloseClient as CloseClient
from holdfast.protocols.nodes.effects import Effect as Effect
from holdfast.protocols.nodes.effects import Effects as Effects
from holdfast.protocols.nodes.effects import Hole as Hole
from holdfast.protocols.nodes.effects import Join as Join
from holdfast.protocols.nodes.effects import Leave as Leave
from holdfast.protocols.nodes.effects import Mute as Mute
from holdfast.protocols.nodes.effects import Notify as Notify
from holdfast.protocols.nodes.effects import Pending as Pending
from holdfast.protocols.nodes.effects import Unmute as Unmute
from holdfast.protocols.nodes.effects import Update as Update
from holdfast.protocols.nodes.effects import pack_ids as pack_ids
from holdfast.protocols.nodes.effects import unpack_ids as unpack_ids
from holdfast.protocols.nodes.entries import Applied as Applied
from holdfast.protocols.nodes.entries import Entry as Entry
from holdfast.protocols.nodes.entries import ProposalRefused as ProposalRefused
from holdfast.protocols.nodes.entries import Propose as Propose
from holdfast.protocols.nodes.entries import State as State
from holdfast.protocols.nodes.entries import StateItem as StateItem
from holdfast.protocols.nodes.entries import WantState as WantState
from holdfast.protocols.nodes.histories import AskHistory as AskHistory
from holdfast.protocols.nodes.histories import History as History
from holdfast.protocols.nodes.histories import Kept as Kept
from holdfast.protocols.nodes.orphans import Orphaned as Orphaned
from holdfast.protocols.nodes.orphans import Orphans as Orphans
from holdfast.protocols.nodes.orphans import WantOrphans as WantOrphans

VERSION = 1
# No proxy may take, nor have, a longer one from a node; to a node goes what a client has sent, and its headers as well.
MAX_BATCH_BYTES = 256 << 20
MAX_BATCH_BYTES_TO_NODE = MAX_BATCH_BYTES + (32 << 20)
MAX_FRAMES = 20_000  # in a batch of a node, which is taken in one go: a tenth of a second of the smallest
# Of a node's handshake: Ready is said when on_open and the others have been told all there is; but one of them may wait
# for something that does not come before. In seconds.
CALLBACKS_TIMEOUT = 3.0
WRONG_TOKEN, NO_TOKEN = "wrong token", "a token is wanted, and none was given"  # of a Refused
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0  # of a Hello: shares of these can be added and divided in any order

# --- both ways ------------------------------------------------------------------------------------------------


class Heartbeat(Struct, array_like=True, frozen=True, gc=False, tag=1):
    """node to proxy: `stamp` is the node's own monotonic clock, opaque to the proxy; load 0.0-1.0, -1 unknown.
    epoch, state_epoch, state_index, owes, is_drained: as in Hello, as they are by now. pending: what of that another
    node may do again; of a proxy without an entry here all that it is owed counts.
    proxy to node: the answer, `stamp` echoed. A node that is master holds its lease until its own clock shows
    stamp + lease: counted from before the question was sent, so it ends at the node first. lease 0: not master.
    With several proxies each grants for itself: the node acts while `quorum` grants of one ballot stand. is_drained:
    the proxy gives the node no more requests. The node remembers it for the rest of its run, and says so at once, to
    all proxies.
    """

    stamp: float
    load: float = -1.0
    epoch: int = 0
    lease: float = 0.0
    ballot: int = 0
    quorum: int = 1
    state_epoch: int = 0
    state_index: int = 0
    owes: Owed = []
    is_drained: bool = False
    pending: Annotated[list[Pending], msgspec.Meta(max_length=MAX_OWED)] = []


class Bye(Struct, array_like=True, frozen=True, gc=False, tag=2):
    """The sender leaves: node to proxy after a drain, proxy to node when the proxy stops."""

    reason: str = ""


class Offer(Struct, array_like=True, frozen=True, gc=False, tag=3):
    """proxy to node: there is a request with which another node was lost. node to proxy, the same: I live, send it.

    So a request is never sent to a node that has died meanwhile, as all do that are killed together, and only those are
    counted as lost with it that it may have killed.
    """

    request: int
    attempt: int


# --- node to proxy --------------------------------------------------------------------------------------------


class Hello(Struct, array_like=True, frozen=True, tag=10):
    """First frame of a session. `node` is unique among live nodes; `incarnation` differs for every run of a process.

    capacity: how many requests it takes at once. weight: its share, 1.0 is normal. token: the shared secret, or "".
    epoch: the highest it has seen, so that epochs grow even when the proxy's memory is new.
    wants_clients: whether it is to be told every client; if not, each request brings its own. host, started: as in
    protocols.nodes.process, so that a proxy that can see the process `pid` knows of its death; "": it can't say.
    takes_requests: whether it is to get requests. takes_offers: whether it answers an Offer. owes: see Owed.
    is_drained: it is to get no more in this run, and not to be master, because an operator or it itself has said so.
    takes: kinds of Call.
    """

    version: int
    node: str
    name: str
    incarnation: int
    capacity: int
    weight: float = 1.0
    labels: dict[str, str] = {}
    pid: int = 0
    token: str = ""
    epoch: int = 0
    state_epoch: int = 0  # last state entry it has applied; 0, 0: none
    state_index: int = 0
    wants_clients: bool = True
    host: str = ""
    started: int = 0
    takes_requests: bool = True
    takes_offers: bool = False
    owes: Owed = []
    is_drained: bool = False
    takes: Takes = []


class Via(Struct, array_like=True, frozen=True, gc=False, tag=13):
    """In a batch numbered 0, before all else: this session is one with another proxy, to which all of it is passed.

    token: as in Hello, of which nothing is read here.
    """

    proxy: str
    token: str = ""


class Ready(Struct, array_like=True, frozen=True, gc=False, tag=11):
    """The node has every client and all state, and takes requests."""


class Drain(Struct, array_like=True, frozen=True, gc=False, tag=12):
    """The node takes no new requests and finishes those it has."""


class Reply(Struct, array_like=True, frozen=True, gc=False, tag=30):
    """The reply to a message. `attempt` as in the request: a late one is refused, with its effects.

    more: another part follows. payload: None says nothing: the request is settled, or it goes on, without a message;
    to an older proxy it is an empty message, unless it ends parts. effects: what the handler did through the proxy;
    carried out if, and only if, the reply is taken, before it is written.
    """

    request: int
    attempt: int
    payload: bytes | None
    is_text: bool
    more: bool = False
    effects: Annotated[list[Effect], msgspec.Meta(max_length=MAX_EFFECTS)] | None = None


class HttpReply(Struct, array_like=True, frozen=True, gc=False, tag=31):
    """The reply to an HTTP request; after `more`, parts continue the body and status and headers are ignored."""

    request: int
    attempt: int
    payload: bytes
    status: int = 200
    headers: list[tuple[str, str]] = []
    more: bool = False
    effects: Annotated[list[Effect], msgspec.Meta(max_length=MAX_EFFECTS)] | None = None


class Failure(Struct, array_like=True, frozen=True, gc=False, tag=32):
    """In place of a reply: the handler failed. `message` goes to the client, so it says nothing of the inside.

    code: of a connect, what a WebSocket is closed with after its handshake, one of OWN_CODES; 0: the handshake is
    refused with the status.
    """

    request: int
    attempt: int
    status: int = 500
    message: str = ""
    code: int = 0


# --- proxy to node --------------------------------------------------------------------------------------------


class Peer(Struct, array_like=True, frozen=True, gc=False):
    """A proxy of the cluster. Not a frame of its own: part of Welcome and Peers.

    address: where nodes dial it. alive: the sender hears it; if not, it may still have its clients.
    """

    proxy: str
    address: str
    alive: bool = True


class Welcome(Struct, array_like=True, frozen=True, gc=False, tag=50):
    """The session stands. Snapshots follow, then changes from clients_sequence + 1 on.

    Both sides send a heartbeat every heartbeat_interval seconds and give up after heartbeat_timeout of silence. A batch
    longer than max_batch_bytes ends the node's connection. peers: as in Peers; empty for a proxy that is alone.
    seen: number of the last Effects that came from this run of the node. keeper: as in Master. prefix: upper 32 bits of
    the ids of this proxy's clients, and of no other's. max_unacknowledged_bytes: of Effects without Ack. reply_window:
    bytes of a reply in parts without Taken. stream_timeout: seconds that may pass between two parts of a reply; 0: as
    many as for the first one. session: its number among all of this run of the proxy, from 1; 0: it does not say.
    ballot: as in Peers. takes: what a node may send that older proxies don't know: "ask", "update", "orphans",
    "history".
    """

    version: int
    proxy: str
    heartbeat_interval: float
    heartbeat_timeout: float
    clients_sequence: int
    peers: list[Peer]
    max_batch_bytes: int = 16 << 20
    seen: int = 0
    keeper: str = ""
    prefix: int = 0
    max_unacknowledged_bytes: int = 4 << 20
    reply_window: int = 1 << 20
    stream_timeout: float = 0.0
    session: int = 0
    ballot: int = 0
    takes: Takes = []


class Refused(Struct, array_like=True, frozen=True, gc=False, tag=51):
    """The session is not, or no longer, one. fatal: the node must not try again as it is (bad token, version).

    Always alone, in a batch numbered 0: there is no session whose numbers it could follow.
    """

    reason: str
    fatal: bool = False


class Taken(Struct, array_like=True, frozen=True, gc=False, tag=59):
    """The client has taken so many bytes more of a reply in parts: their payloads, or all but little of them."""

    request: int
    attempt: int
    bytes: int


class Request(Struct, array_like=True, frozen=True, gc=False, tag=60):
    """A client's message. timeout: milliseconds left; attempt: 1, and one more for each redelivery.

    info: a Client, encoded, for a node that is not told of clients; the same in each of its requests. b"": the node is
    told of clients, or this one has gone.
    """

    id: int
    client: int
    attempt: int
    timeout: int
    payload: bytes
    is_text: bool
    info: bytes = b""


class HttpRequest(Struct, array_like=True, frozen=True, gc=False, tag=61):
    """An HTTP request. Its client is not in the snapshot: it lives as long as the request does."""

    id: int
    client: Client
    attempt: int
    timeout: int
    payload: bytes
    method: str
    target: str


class Cancel(Struct, array_like=True, frozen=True, gc=False, tag=62):
    """The reply is no longer wanted: client gone, or deadline passed."""

    request: int
    attempt: int


class Master(Struct, array_like=True, frozen=True, gc=False, tag=70):
    """Who is master from now on. node "": nobody. The lease comes with heartbeats, never with this.

    keeper: the proxy that keeps the nodes' state in this epoch; "": the one that says this.
    """

    node: str
    epoch: int
    keeper: str = ""


class Peers(Struct, array_like=True, frozen=True, gc=False, tag=71):
    """Every proxy whose clients may still be there, the sender too. It replaces the sender's former list.

    ballot: number of the set of members that the sender follows; 0: it does not say. Who is not in a list of an older
    set may have come with a later one.
    """

    proxies: list[Peer]
    ballot: int = 0


Asked = Request | HttpRequest | Call
Answer = Reply | HttpReply | Failure  # to a request, or a part of that
FromNode = (
    Heartbeat | Bye | Offer | Hello | Ready | Drain | Via
    | Effects | Hole | AskCount | AskHistory | Ask | Reply | HttpReply | Failure | Propose | State | Orphaned | Orphans
)  # fmt: skip
FromProxy = (
    Heartbeat | Bye | Offer | Welcome | Refused | Clients | Changes | Ack | Mute | Unmute | Counted | Taken
    | Request | HttpRequest | Call | Answered | History | Cancel | Master | Peers | State | Entry | ProposalRefused
    | WantState | WantOrphans
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_from_node: msgspec.msgpack.Decoder[tuple[int, list[FromNode]]] = msgspec.msgpack.Decoder(
    tuple[int, Annotated[list[FromNode], msgspec.Meta(max_length=MAX_FRAMES)]]
)
_from_proxy: msgspec.msgpack.Decoder[tuple[int, list[FromProxy]]] = msgspec.msgpack.Decoder(tuple[int, list[FromProxy]])


def encode_frame(frame: Struct) -> msgspec.Raw:
    """A frame encoded once, to be put into many batches."""
    return msgspec.Raw(_encoder.encode(frame))


def encode_batch(number: int, frames: Sequence[Any]) -> bytes:
    """One ZeroMQ message. Frames are Structs of this module or what `encode_frame` gave."""
    return _encoder.encode((number, frames))


def decode_from_node(data: bytes) -> tuple[int, list[FromNode]]:
    """A batch from a node. Raises FrameError for whatever is not one."""
    try:
        return _from_node.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not a batch of node frames ({len(data)} bytes): {error}") from error


def decode_from_proxy(data: bytes) -> tuple[int, list[FromProxy]]:
    """A batch from a proxy. Raises FrameError for whatever is not one."""
    try:
        return _from_proxy.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not a batch of proxy frames ({len(data)} bytes): {error}") from error
