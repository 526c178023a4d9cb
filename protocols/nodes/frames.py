"""The frames of the node link, version 1: msgpack arrays `[type, ...]`, and the batch that carries them.

One ZeroMQ message is one batch: `[number, [frame, ...]]`, numbered from 1 per direction and session, so that a
lost, doubled or foreign batch is seen at the next one. docs/node-protocol.md is the specification; its test
vectors (tests/protocols/nodes/vectors.json) are made from this file and checked against it.

Field order is the wire order. New fields go to the end with a default: an old peer ignores what it does not
know, a new one fills in what is missing. Ids of clients are 64-bit; packed lists of them are little-endian.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from protocols.errors import FrameError
from protocols.nodes.effects import AsMaster as AsMaster
from protocols.nodes.effects import Broadcast as Broadcast
from protocols.nodes.effects import CloseClient as CloseClient
from protocols.nodes.effects import Effect as Effect
from protocols.nodes.effects import Effects as Effects
from protocols.nodes.effects import Hole as Hole
from protocols.nodes.effects import Join as Join
from protocols.nodes.effects import Leave as Leave
from protocols.nodes.effects import Notify as Notify
from protocols.nodes.effects import pack_ids as pack_ids
from protocols.nodes.effects import unpack_ids as unpack_ids

VERSION = 1

# --- both ways ------------------------------------------------------------------------------------------------


class Heartbeat(Struct, array_like=True, frozen=True, gc=False, tag=1):
    """node to proxy: `stamp` is the node's own monotonic clock, opaque to the proxy; load 0.0-1.0, -1 unknown.

    proxy to node: the answer, `stamp` echoed. A node that is master holds its lease until its own clock shows
    stamp + lease: counted from before the question was sent, so it ends at the node first. lease 0: not master.
    With several proxies each grants for itself: the node acts while `quorum` grants of one ballot stand.
    state_epoch, state_index: node to proxy, as in Hello.
    """

    stamp: float
    load: float = -1.0
    epoch: int = 0
    lease: float = 0.0
    ballot: int = 0
    quorum: int = 1
    state_epoch: int = 0
    state_index: int = 0


class Bye(Struct, array_like=True, frozen=True, gc=False, tag=2):
    """The sender leaves: node to proxy after a drain, proxy to node when the proxy stops."""

    reason: str = ""


# --- node to proxy --------------------------------------------------------------------------------------------


class Hello(Struct, array_like=True, frozen=True, tag=10):
    """First frame of a session. `node` is unique among live nodes; `incarnation` differs for every run of a process.

    capacity: how many requests it takes at once. weight: its share, 1.0 is normal. token: the shared secret, or "".
    epoch: the highest it has seen, so that epochs grow even when the proxy's memory is new.
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


class Via(Struct, array_like=True, frozen=True, gc=False, tag=13):
    """In a batch numbered 0, before all else: this session is one with another proxy, to which all of it is passed."""

    proxy: str


class Ready(Struct, array_like=True, frozen=True, gc=False, tag=11):
    """The node has every client and all state, and takes requests."""


class Drain(Struct, array_like=True, frozen=True, gc=False, tag=12):
    """The node takes no new requests and finishes those it has."""


class AskCount(Struct, array_like=True, frozen=True, gc=False, tag=28):
    """How many clients of all proxies are in a channel? `ask` is the node's own number for the question."""

    ask: int
    channel: str


class Reply(Struct, array_like=True, frozen=True, gc=False, tag=30):
    """The reply to a message. `attempt` as in the request: a late one is refused, with its effects.

    more: another part follows. effects: what the handler did through the proxy; carried out if, and only if,
    the reply is taken, before it is written.
    """

    request: int
    attempt: int
    payload: bytes
    is_text: bool
    more: bool = False
    effects: list[Effect] | None = None


class HttpReply(Struct, array_like=True, frozen=True, gc=False, tag=31):
    """The reply to an HTTP request; after `more`, parts continue the body and status and headers are ignored."""

    request: int
    attempt: int
    payload: bytes
    status: int = 200
    headers: list[tuple[str, str]] = []
    more: bool = False
    effects: list[Effect] | None = None


class Failure(Struct, array_like=True, frozen=True, gc=False, tag=32):
    """In place of a reply: the handler failed. `message` goes to the client, so it says nothing of the inside."""

    request: int
    attempt: int
    status: int = 500
    message: str = ""


class Propose(Struct, array_like=True, frozen=True, gc=False, tag=40):
    """A change of the replicated state that the node wants. `proposal` is the node's own number for it.

    value None deletes. owner: the client whose going deletes the entry; 0: none.
    """

    proposal: int
    key: str
    value: bytes | None
    owner: int = 0


class Entry(Struct, array_like=True, frozen=True, gc=False, tag=41):
    """A change that the master has put in order: `index` grows by one, across epochs too.

    master to proxy, proxy to every node. node, proposal: who asked, so that it can stop waiting.
    """

    epoch: int
    index: int
    node: str
    proposal: int
    key: str
    value: bytes | None
    owner: int = 0


# --- proxy to node --------------------------------------------------------------------------------------------


class Client(Struct, array_like=True, frozen=True, gc=False):
    """One client, as nodes know it. Not a frame of its own: part of Clients and Opened."""

    id: int
    protocol: str
    address: str
    path: str
    headers: list[tuple[str, str]]


class Peer(Struct, array_like=True, frozen=True, gc=False):
    """A proxy of the cluster. Not a frame of its own: part of Welcome and Peers.

    address: where nodes dial it. alive: the sender hears it; if not, it may still have its clients.
    """

    proxy: str
    address: str
    alive: bool = True


class Welcome(Struct, array_like=True, frozen=True, gc=False, tag=50):
    """The session stands. Snapshots follow, then deltas from clients_sequence + 1 on.

    Both sides send a heartbeat every heartbeat_interval seconds and give up after heartbeat_timeout of silence. A batch
    longer than max_batch_bytes ends the node's connection. peers: as in Peers; empty for a proxy that is alone.
    seen: number of the last Effects that came from this run of the node. keeper: as in Master.
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


class Refused(Struct, array_like=True, frozen=True, gc=False, tag=51):
    """The session is not, or no longer, one. fatal: the node must not try again as it is (bad token, version).

    Always alone, in a batch numbered 0: there is no session whose numbers it could follow.
    """

    reason: str
    fatal: bool = False


class Clients(Struct, array_like=True, frozen=True, gc=False, tag=52):
    """A page of the snapshot: clients that live now. Deltas come between pages, each holds for what came before it."""

    clients: list[Client]
    last: bool


class Opened(Struct, array_like=True, frozen=True, gc=False, tag=53):
    sequence: int
    client: Client


class Closed(Struct, array_like=True, frozen=True, gc=False, tag=54):
    sequence: int
    client: int
    reason: str


class Ack(Struct, array_like=True, frozen=True, gc=False, tag=55):
    """Effects up to this number have been carried out, or have been before."""

    number: int


class Mute(Struct, array_like=True, frozen=True, gc=False, tag=56):
    """No client of this proxy is in these channels: their notifications need not be sent to it until Unmute."""

    channels: list[str]


class Unmute(Struct, array_like=True, frozen=True, gc=False, tag=57):
    channels: list[str]


class Counted(Struct, array_like=True, frozen=True, gc=False, tag=58):
    """The answer to AskCount."""

    ask: int
    count: int


class Request(Struct, array_like=True, frozen=True, gc=False, tag=60):
    """A client's message. timeout: milliseconds left; attempt: 1, and one more for each redelivery."""

    id: int
    client: int
    attempt: int
    timeout: int
    payload: bytes
    is_text: bool


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
    """Every proxy whose clients may still be there, the sender too. It replaces the sender's former list."""

    proxies: list[Peer]


class StateItem(Struct, array_like=True, frozen=True, gc=False):
    """One key of the state. Not a frame of its own: part of State."""

    key: str
    value: bytes
    owner: int = 0


class State(Struct, array_like=True, frozen=True, gc=False, tag=72):
    """Both ways: a page of the state as it is after entry (epoch, index). Entries come only after the last page."""

    epoch: int
    index: int
    items: list[StateItem]
    last: bool


class Proposed(Struct, array_like=True, frozen=True, gc=False, tag=73):
    """To the master: node `node` proposes this. The master answers with an Entry."""

    node: str
    proposal: int
    key: str
    value: bytes | None
    owner: int = 0


class ProposalRefused(Struct, array_like=True, frozen=True, gc=False, tag=74):
    """A proposal will never be an entry: it breaks a limit, which `reason` names."""

    proposal: int
    reason: str


class WantState(Struct, array_like=True, frozen=True, gc=False, tag=75):
    """The proxy was restarted and this node's Hello told a later state than it has: send it, as State pages."""


FromNode = (
    Heartbeat | Bye | Hello | Ready | Drain | Via | Join | Leave | Notify | Broadcast | CloseClient
    | AsMaster | Effects | Hole | AskCount | Reply | HttpReply | Failure | Propose | Entry | State
)  # fmt: skip
FromProxy = (
    Heartbeat | Bye | Welcome | Refused | Clients | Opened | Closed | Ack | Mute | Unmute | Counted
    | Request | HttpRequest | Cancel | Master | Peers | State | Entry | Proposed | ProposalRefused | WantState
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_from_node: msgspec.msgpack.Decoder[tuple[int, list[FromNode]]] = msgspec.msgpack.Decoder(tuple[int, list[FromNode]])
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
