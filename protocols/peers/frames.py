"""The frames between proxies: msgpack arrays `[tag, ...]`, as those of the node link. protocols.peers.envelope carries
them.

A proxy tells others facts about itself and nothing else: whom it hears, which nodes it has, which record it follows. A
fact sets something to a value, so telling it twice does no harm, and a full set of facts is made of the same frames as
the changes that follow it.

Field order is the wire order. New fields go to the end with a default, as in protocols.nodes.frames. What is remembered
or compared has a plausible range (protocols.peers.ranges): a frame beyond it is none, nor is such a record or card in a
store.
"""

from functools import cached_property
from typing import Annotated

from msgspec import Meta, Struct

from holdfast.protocols.peers.ranges import MAX_MEMBERS, Endpoint, Id, Number, Prefix, Seconds, Word
from holdfast.protocols.peers.replication import Entries, Gone, Held, Noted, Owed, StatePage, WantPage, Watch

# --- parts of frames --------------------------------------------------------------------------------------------------


class Member(Struct, array_like=True, frozen=True, gc=False):
    """One run of a proxy and where it is. The id is made anew by every run.

    router, pub: ZeroMQ endpoints that others dial. host: tells machines and network namespaces apart, so that loopback
    addresses of two hosts are not taken for the same place. is_bound: router is what this process has bound, and not
    what an operator says that it may be reached by. prefix: the upper 32 bits of its clients' ids. is_named: while
    it lives it has a name that nobody else of `host` can have (proxy.cluster.names).
    """

    proxy: Id
    router: Endpoint
    pub: Endpoint
    host: Word = ""
    is_bound: bool = False
    prefix: Prefix = 0
    is_named: bool = False

    def is_at(self, other: "Member") -> bool:
        """Whether both say that they are reached at one place."""
        return self.router == other.router and (self.host == other.host or not _is_loopback(self.router))

    def outlives(self, other: "Member") -> bool:
        """Whether that we live proves that the other is dead: the kernel gives an address to one process only."""
        return self.router == other.router and self.host == other.host and self.is_bound and other.is_bound


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.partition("://")[2].rpartition(":")[0]
    return host.startswith("127.") or host in ("[::1]", "localhost")


class Agreed(Struct, array_like=True, frozen=True, gc=False):
    """The settings that all proxies of a cluster must have alike, in seconds: what one grants by them, or keeps, the
    others wait for by theirs.
    """

    lease: Seconds = 0.0
    heartbeat_timeout: Seconds = 0.0
    fence_timeout: Seconds = 0.0
    takeover_timeout: Seconds = 0.0
    spread: Seconds = 0.0


class Record(Struct, array_like=True, frozen=True, dict=True):
    """What the cluster agrees on, in the coordination store: it is changed by compare-and-set on `version` only.

    version: grows with every write. epoch: the version with which this (master, keeper) began. master, incarnation: the
    node's process; "" for none. keeper: the member that keeps the nodes' state, and is the first to elect. ballot: the
    version with which this set of members began. former: ids of the last set that was firm, so far as the writer of
    this ballot knew, without those that are known to be dead. carried: the epoch whose master was established when the
    ballot began. cluster: whose it is, the id of its founder: another cluster's record may come from a proxy that took
    our address for one of its own. agreed: the founder's settings. halved: the ballot was made by exactly half of the
    one before, and that is not long ago. term: the version with which this keeper began to keep the state. gone: whom
    the writer of this ballot took out, or knew to be out for not long; they may live (balancer.cluster.lingering). What
    former, carried and halved are for say balancer.cluster.membership and replication.
    """

    version: Number = 0
    epoch: Number = 0
    master: Word = ""
    incarnation: int = 0
    keeper: Word = ""
    ballot: Number = 0
    members: Annotated[tuple[Member, ...], Meta(max_length=MAX_MEMBERS)] = ()
    former: Annotated[tuple[Word, ...], Meta(max_length=MAX_MEMBERS)] = ()
    carried: Number = 0
    cluster: Word = ""
    agreed: Agreed = Agreed()
    halved: bool = False
    term: Number = 0
    gone: Annotated[tuple[Member, ...], Meta(max_length=MAX_MEMBERS)] = ()

    @cached_property  # asked for many times with each message that comes; records are few
    def ids(self) -> tuple[str, ...]:
        return tuple(member.proxy for member in self.members)

    @property
    def quorum(self) -> int:
        """How many members are more than half."""
        return len(self.members) // 2 + 1


# NodeSeen.state. Syncing: it has a session and is not ready. 2 is an older proxy's word for some that drain.
READY, DRAINING, SYNCING = 0, 1, 3


class NodeSeen(Struct, array_like=True, frozen=True, gc=False):
    """A node with a session at the sender."""

    node: str
    incarnation: int
    state: int = READY


class Figures(Struct, array_like=True, frozen=True, gc=False):
    """What the operator sees of a proxy. Totals since its start.

    worker, restarts, last_exit: of a supervised worker; -1, 0, 0 for others.
    """

    clients: int = 0
    connections: int = 0
    in_flight: int = 0
    parked: int = 0
    requests: int = 0
    replies: int = 0
    redelivered: int = 0
    errors: int = 0
    channels: int = 0
    worker: int = -1
    restarts: int = 0
    last_exit: int = 0


# --- published: numbered, to every proxy ------------------------------------------------------------------------------


class Evicted(Struct, array_like=True, frozen=True, gc=False):
    """A member that was evicted, and so many seconds during which it may still have its clients."""

    member: Member
    left: Seconds


class Beat(Struct, array_like=True, frozen=True, gc=False, tag=80):
    """The heartbeat. version: of the record that the sender follows; the lists are by that record.

    missing: members that it does not hear. strangers: others that it hears. confirmed: every member follows this
    ballot, or a later one. established: nobody but the record's master can be acting. firm: confirmed, and more than
    half of the members hold the nodes' state as it was when the ballot began. These stay true for as long as the record
    has this version. vacant: the sender, which hears a majority, sees no master that a majority has. term, position: of
    the state that the sender holds, at a moment in the last heartbeat's time. evicted: lately, for who has not seen it.
    """

    version: Number
    missing: list[Word]
    strangers: list[Word]
    fenced: bool = False
    confirmed: bool = False
    established: bool = False
    figures: Figures = Figures()
    vacant: bool = False
    firm: bool = False
    term: Number = 0
    position: tuple[Number, Number] = (0, 0)
    evicted: list[Evicted] = []


class Nodes(Struct, array_like=True, frozen=True, gc=False, tag=81):
    """All nodes that the sender has; this replaces the former list."""

    nodes: list[NodeSeen]


class Told(Struct, array_like=True, frozen=True, gc=False, tag=83):
    """The record that the sender follows."""

    record: Record


class Proof(Struct, array_like=True, frozen=True, gc=False, tag=84):
    """The answer to Prove, on the published stream: who sees it there has a live subscription."""

    nonce: int


class Leaving(Struct, array_like=True, frozen=True, gc=False, tag=85):
    """The sender is out of the record and ends."""


class Dead(Struct, array_like=True, frozen=True, gc=False, tag=119):
    """This process of a node ran on the sender's host and is dead. Not one of its facts: who misses it waits longer."""

    node: str
    incarnation: int


Fact = Beat | Nodes | Told
Published = Beat | Nodes | Told | Proof | Leaving | Dead

# --- asked and answered: between two proxies --------------------------------------------------------------------------


class Prove(Struct, array_like=True, frozen=True, gc=False, tag=90):
    """Publish Proof(nonce). member: the sender, so that the receiver can dial it. asked: whose proof is wanted: whoever
    has the address by now can't give it for that one; "": of who gets this.
    """

    nonce: int
    member: Member
    asked: str = ""


class WantFacts(Struct, array_like=True, frozen=True, gc=False, tag=91):
    """Send Facts."""


class Facts(Struct, array_like=True, frozen=True, gc=False, tag=92):
    """All facts about the sender, as they are after the published message `number`.

    They replace whatever the receiver knew of it, and are one frame, so that none of them can be lost alone.
    """

    number: Number
    frames: list[Fact]


class Tunnelled(Struct, array_like=True, frozen=True, gc=False, tag=93):
    """A message of a node's session that goes through another proxy, unread. session: the node's routing id there.

    back: from the session's proxy to the one that has the node's link. data b"": the session is over. proxy: for whom
    it is, because another may have its address by now; "": for who gets this.
    """

    session: bytes
    data: bytes
    back: bool = False
    proxy: Word = ""


class WantCount(Struct, array_like=True, frozen=True, gc=False, tag=110):
    """How many members has the channel with you? ask: the asker's number of the question."""

    ask: int
    channel: str


class CountIs(Struct, array_like=True, frozen=True, gc=False, tag=111):
    """The answer to WantCount, and to WantKick: 1 or 0."""

    ask: int
    count: int


class WantKick(Struct, array_like=True, frozen=True, gc=False, tag=112):
    """Close this client of yours: an operator says so. reason: text for it. ask: as in WantCount."""

    ask: int
    client: int
    reason: Word


Frame = (
    Beat | Nodes | Told | Proof | Leaving | Dead | Prove | WantFacts | Facts | Tunnelled | WantCount | CountIs
    | WantKick | Owed | Noted | Entries | Held | WantPage | StatePage | Watch | Gone
)  # fmt: skip
