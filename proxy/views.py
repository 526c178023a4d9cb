"""What the admin server shows of the running proxy, and Control, the seam through which it asks and acts.

The structs are what the admin server's JSON is made of, and what those who ask it read it as: what does not fit is no
answer of ours. Ids of clients are text in them, 16 hexadecimal digits: JavaScript and some tools keep only 53 bits of
a number.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from holdfast.protocols.nodes.effects import Effect

MAX_ASKED = 1000  # channels, of which one question asks the rules


class NodeView(Struct, frozen=True, kw_only=True):
    """One node. load: 0.0-1.0 as it reports it, -1 unknown. ready_for: seconds since it became ready, or null."""

    id: str
    name: str
    state: str
    in_flight: int
    capacity: int
    weight: float
    load: float
    pid: int
    labels: dict[str, str]
    ejected: bool
    ready_for: float | None


class MasterView(Struct, frozen=True, kw_only=True):
    """node is null while nobody is master; epoch is then that of the last one."""

    node: str | None
    epoch: int


class ProxyView(Struct, frozen=True, kw_only=True):
    """One proxy of the cluster, as it last published it; zeros while it has said nothing. alive: it is heard here.

    worker: its number among the workers of one `serve`, -1 for another. last_exit: of a worker that was restarted, the
    exit status of its former run, minus the signal's number if one has ended it. Counts are since its start.
    """

    id: str
    router: str
    pub: str
    alive: bool
    fenced: bool
    clients: int
    connections: int
    in_flight: int
    parked: int
    requests: int
    replies: int
    redelivered: int
    errors: int
    channels: int
    worker: int
    restarts: int
    last_exit: int


class ClusterView(Struct, frozen=True, kw_only=True):
    """What this proxy knows of its cluster. It is the same at every proxy but for `here`, the one that says it.

    version: of the record that it follows; epoch: with which its master (a node's id, or null) began. keeper: the proxy
    that keeps the nodes' state. trouble: why this proxy is not a part of it now, or what can't go on; "" if all does.
    """

    here: str
    version: int
    epoch: int
    master: str | None
    keeper: str | None
    fenced: bool
    trouble: str
    members: Sequence[ProxyView]


class PeerStatus(Struct, frozen=True):
    """A proxy, as in PluginStatus."""

    pub: str
    router: str
    ready: bool
    id: str


class PluginStatus(Struct, frozen=True, kw_only=True):
    """The cluster in the form that tools of Kuzzle's cluster plugin read: count, current, pool; and what is new.

    count: current and pool. pool: the others.
    """

    count: int
    current: PeerStatus
    pool: Sequence[PeerStatus]
    version: int
    epoch: int
    master: str | None
    keeper: str | None
    fenced: bool
    proxies: Sequence[ProxyView]

    @classmethod
    def of(cls, view: ClusterView) -> "PluginStatus":
        peers = {one.id: PeerStatus(one.pub, one.router, one.alive and not one.fenced, one.id) for one in view.members}
        return cls(
            count=len(peers),
            current=peers.pop(view.here),
            pool=list(peers.values()),
            version=view.version,
            epoch=view.epoch,
            master=view.master,
            keeper=view.keeper,
            fenced=view.fenced,
            proxies=view.members,
        )


class StatusView(Struct, frozen=True, kw_only=True):
    """The proxy at a glance. Times in seconds; requests to errors count since the start."""

    ready: bool
    reason: str  # why it is not ready, or what is not as it should be
    proxy: str
    version: str
    pid: int
    uptime: float
    clients: int
    connections: int
    in_flight: int
    parked: int
    requests: int
    replies: int
    redelivered: int
    errors: int
    last_failover: float | None
    master: MasterView
    nodes: Sequence[NodeView]
    cluster: ClusterView | None = None  # of a proxy that has a store


class NodeList(Struct, frozen=True):
    nodes: Sequence[NodeView]


class ClientView(Struct, frozen=True, kw_only=True):
    """One client. connected_for in seconds."""

    id: str
    protocol: str
    address: str
    path: str
    channels: int
    in_flight: int
    outbox_bytes: int
    connected_for: float


class ClientPage(Struct, frozen=True, kw_only=True):
    """Some clients of the proxy that says it. elsewhere: how many more there are at others of its cluster. next: the
    id after which the next page begins, or null."""

    proxy: str
    elsewhere: int
    clients: Sequence[ClientView]
    next: str | None


class Drained(Struct, frozen=True):
    node: str
    state: str


class Kicked(Struct, frozen=True):
    client: str
    kicked: bool


class Published(Struct, frozen=True):
    """So many messages have been carried out by a node, for clients of all proxies."""

    messages: int


class Closed(Struct, frozen=True):
    """A node has done it, if there is such a client: nobody is asked whether there is."""

    client: str
    closing: bool


class Membership(Struct, frozen=True):
    """A node has done it, if there is such a client: nobody is asked whether there is. joined: whether it is in the
    channel now; null: not known here, because it is no client of this proxy, or has gone."""

    client: str
    channel: str
    joined: bool | None


class Health(Struct, frozen=True):
    status: str


class Readiness(Struct, frozen=True):
    ready: bool
    reason: str


class ChannelCount(Struct, frozen=True):
    """proxies: those that have members of the channel, each with how many."""

    channel: str
    count: int
    proxies: Mapping[str, int]


class RouteQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """A request, for which the routes are asked. url: or a path. method: of an HTTP request; "": GET. message: text of
    a client's message; None: it is an HTTP request, or a message that nothing is known of. protocol: "": http, or
    websocket for a message or a URL with ws. client: an id, as format_client_id writes it; "": any."""

    url: str
    method: str = ""
    headers: Sequence[tuple[str, str]] = ()
    message: str | None = None
    protocol: str = ""
    client: str = ""


class RouteStep(Struct, frozen=True, kw_only=True):
    """One route. number: its place, from 1; 0: it is none, but what no route takes. takes: of what comes to it, in per
    cent of the clients. why: it takes nothing. target: in words. available: ids of the nodes that can take it now; null
    if it needs none, or if nobody has been asked."""

    route: str
    number: int
    takes: float
    why: str
    target: str
    available: Sequence[str] | None


class RouteView(Struct, frozen=True):
    """Routes in order, up to that which takes all that comes to it."""

    steps: Sequence[RouteStep]


class ChannelQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """Names of channels, for which the rules are asked."""

    channels: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=MAX_ASKED)]


class ChannelRuleView(Struct, frozen=True, kw_only=True):
    """What holds for one channel. number: the place of its rule, from 1; 0: none takes it, and this is what holds then.
    match: the rule's pattern. parameters: their values in the name. subscribe, publish: who may among the clients, by
    themselves. history_messages: 0: nothing is kept; history_bytes: 0: no limit by that; history_age: seconds. why:
    no client can be in such a channel."""

    channel: str
    number: int
    match: str
    parameters: dict[str, str]
    subscribe: str
    publish: str
    history_messages: int
    history_bytes: int
    history_age: float
    presence: bool
    why: str


class ChannelRulesView(Struct, frozen=True):
    """As they were asked for."""

    channels: Sequence[ChannelRuleView]


class Fault(Struct, frozen=True):
    status: int
    message: str


class Refusal(Struct, frozen=True, forbid_unknown_fields=True):
    """Any answer of a status from 400 on. There is nothing beside it, by which it is told from errors of other
    servers: also from those that a proxy gives its clients."""

    error: Fault


def format_client_id(number: int) -> str:
    return f"{number:016x}"


def parse_client_id(text: str) -> int:
    """Raises ValueError."""
    # fromhex takes hexadecimal digits only, where int() would take signs and underscores
    if len(text) == 16 and " " not in text:
        with suppress(ValueError):
            return int.from_bytes(bytes.fromhex(text), "big")
    raise ValueError("expected a client id of 16 hexadecimal digits")


class Control(Protocol):
    """The running proxy, as the admin server needs it. Called from its tasks; nothing blocks, only what is
    async waits."""

    def ready(self) -> tuple[bool, str]:
        """Whether clients should be sent here; if not, why not, in a few words. If so, what is not as it should be."""
        ...

    def status(self) -> StatusView: ...

    def cluster(self) -> ClusterView:
        """A proxy that has no store is alone in its own."""
        ...

    def reset(self) -> bool:
        """Begin to make the cluster anew of the proxies that are heard here. False: this one is alone."""
        ...

    async def count(self, channel: str) -> Mapping[str, int] | None:
        """Members of the channel at each proxy that answers in time, those without any left out. None: nobody was
        asked, because too much is being asked."""
        ...

    def nodes(self) -> Sequence[NodeView]: ...

    def clients(self, limit: int, after: int | None) -> Sequence[ClientView]:
        """At most `limit` clients of this proxy in ascending order of id, those above `after` only."""
        ...

    async def drain_node(self, node_id: str) -> bool | None:
        """Give the node no more requests, and have it remember that. False: there is no such node. None: it has not
        said that it knows, so it may get requests again in another session."""
        ...

    async def kick(self, client_id: int, reason: str) -> bool | None:
        """End the client's connection, at whatever proxy, with `reason` as text for it. False: there is no such client.
        None: nobody knows, because its proxy does not answer."""
        ...

    def route(self, asked: RouteQuestion) -> RouteView:
        """Which route takes a request, and who is available for it. Raises ValueError for what is none."""
        ...

    def channel_rules(self, asked: ChannelQuestion) -> ChannelRulesView:
        """Which rules take these channels."""
        ...

    async def publish(self, effects: Sequence[Effect], within: float) -> None:
        """Have a node do these, to clients of all proxies: all of them in this order, or none. Raises HoldfastError if
        none has; perhaps they are done then all the same, unless its reason is that there was no node. within: seconds
        until then, if those are less than `request.timeout`."""
        ...

    @property
    def max_channel_name_bytes(self) -> int: ...

    def is_member(self, client: int, channel: str) -> bool | None:
        """Whether it is in the channel. None: it is no client of this proxy."""
        ...

    def limit_hit(self, name: str) -> None:
        """For the metrics: something was refused."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text."""
        ...
