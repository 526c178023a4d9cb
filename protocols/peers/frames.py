"""The frames between proxies: msgpack arrays `[tag, ...]`, as those of the node link. protocols.peers.envelope carries
them.

A proxy tells others facts about itself and nothing else: whom it hears, which nodes it has, how many members its
channels have, which record it follows. A fact sets something to a value, so telling it twice does no harm, and a full
set of facts is made of the same frames as the changes that follow it.

Field order is the wire order. New fields go to the end with a default, as in protocols.nodes.frames.
"""

from msgspec import Struct

# --- parts of frames --------------------------------------------------------------------------------------------------


class Member(Struct, array_like=True, frozen=True, gc=False):
    """One run of a proxy and where it is. The id is made anew by every run.

    router, pub: ZeroMQ endpoints that others dial. host: tells machines and network namespaces apart, so that loopback
    addresses of two hosts are not taken for the same place.
    """

    proxy: str
    router: str
    pub: str
    host: str = ""

    def is_at(self, other: "Member") -> bool:
        """Whether both are at one place, where only one of them can live."""
        return self.router == other.router and (self.host == other.host or not _is_loopback(self.router))


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.partition("://")[2].rpartition(":")[0]
    return host.startswith("127.") or host in ("[::1]", "localhost")


class Record(Struct, array_like=True, frozen=True, gc=False):
    """What the cluster agrees on, in the coordination store: it is changed by compare-and-set on `version` only.

    version: grows with every write. epoch: the version with which this (master, keeper) began. master, incarnation: the
    node's process; "" for none. keeper: the member that elects and keeps the nodes' state. ballot: the version with
    which this set of members began. former: ids of the last set that all of its members had confirmed, so far as the
    writer of this ballot knew, without those that are known to be dead. carried: the epoch whose master was established
    when the ballot began. balancer.cluster.membership says what these two are for. cluster: whose it is, the id of its
    founder: another cluster's record may come from a proxy that took our address for one of its own.
    """

    version: int = 0
    epoch: int = 0
    master: str = ""
    incarnation: int = 0
    keeper: str = ""
    ballot: int = 0
    members: tuple[Member, ...] = ()
    former: tuple[str, ...] = ()
    carried: int = 0
    cluster: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(member.proxy for member in self.members)

    @property
    def quorum(self) -> int:
        """How many members are more than half."""
        return len(self.members) // 2 + 1


# NodeSeen.state. Draining: it said so itself. Drained: by an operator, which then holds for all proxies. Syncing: it
# has a session and is not ready, or not again.
READY, DRAINING, DRAINED, SYNCING = range(4)


class NodeSeen(Struct, array_like=True, frozen=True, gc=False):
    """A node with a session at the sender."""

    node: str
    incarnation: int
    state: int = READY


class Figures(Struct, array_like=True, frozen=True, gc=False):
    """What the operator sees of a proxy. Totals since `since`, by the wall clock.

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
    since: float = 0.0


# --- published: numbered, to every proxy ------------------------------------------------------------------------------


class Beat(Struct, array_like=True, frozen=True, gc=False, tag=80):
    """The heartbeat. version: of the record that the sender follows; the lists are by that record.

    missing: members that it does not hear. strangers: others that it hears. confirmed: every member follows this
    ballot, or a later one. established: nobody but the record's master can be acting. Both stay true for as long as the
    record has this version.
    """

    version: int
    missing: list[str]
    strangers: list[str]
    fenced: bool = False
    confirmed: bool = False
    established: bool = False
    figures: Figures = Figures()


class Nodes(Struct, array_like=True, frozen=True, gc=False, tag=81):
    """All nodes that the sender has; this replaces the former list."""

    nodes: list[NodeSeen]


class Counts(Struct, array_like=True, frozen=True, gc=False, tag=82):
    """How many members these channels have at the sender; 0: the channel is gone."""

    counts: list[tuple[str, int]]


class Told(Struct, array_like=True, frozen=True, gc=False, tag=83):
    """The record that the sender follows."""

    record: Record


class Proof(Struct, array_like=True, frozen=True, gc=False, tag=84):
    """The answer to Prove, on the published stream: who sees it there has a live subscription."""

    nonce: int


class Leaving(Struct, array_like=True, frozen=True, gc=False, tag=85):
    """The sender is out of the record and ends."""


Fact = Beat | Nodes | Counts | Told
Published = Beat | Nodes | Counts | Told | Proof | Leaving

# --- asked and answered: between two proxies --------------------------------------------------------------------------


class Prove(Struct, array_like=True, frozen=True, gc=False, tag=90):
    """Publish Proof(nonce). member: the sender, so that the receiver can dial it."""

    nonce: int
    member: Member


class WantFacts(Struct, array_like=True, frozen=True, gc=False, tag=91):
    """Send all facts about yourself, as Facts."""


class Facts(Struct, array_like=True, frozen=True, gc=False, tag=92):
    """A page of all facts, as they are after the published message `number`. Pages count from 0.

    All pages of one answer are made at once. They replace whatever the receiver knew of the sender.
    """

    number: int
    page: int
    frames: list[Fact]
    last: bool


class Tunnelled(Struct, array_like=True, frozen=True, gc=False, tag=93):
    """A message of a node's session that goes through another proxy, unread. session: the node's routing id there.

    back: from the session's proxy to the one that has the node's link. data b"": the session is over.
    """

    session: bytes
    data: bytes
    back: bool = False


Frame = Beat | Nodes | Counts | Told | Proof | Leaving | Prove | WantFacts | Facts | Tunnelled
