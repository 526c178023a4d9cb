"""What the admin server shows of the running proxy, and Control, the seam through which it asks and acts.

Ids of clients are 64-bit numbers here and 16 hexadecimal digits in JSON and on the command line: JavaScript and
some tools keep only 53 bits of a number.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


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


class StatusView(Struct, frozen=True, kw_only=True):
    """The proxy at a glance. Times in seconds; requests to errors count since the start."""

    ready: bool
    reason: str  # why it is not ready
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


class ClientView(Struct, frozen=True, kw_only=True):
    """One client. connected_for in seconds."""

    id: int
    protocol: str
    address: str
    path: str
    channels: int
    in_flight: int
    outbox_bytes: int
    connected_for: float


class Control(Protocol):
    """The running proxy, as the admin server needs it. Called from its tasks; nothing blocks or waits."""

    def ready(self) -> tuple[bool, str]:
        """Whether clients should be sent here; if not, why not, in a few words."""
        ...

    def status(self) -> StatusView: ...

    def nodes(self) -> Sequence[NodeView]: ...

    def clients(self, limit: int, after: int | None) -> Sequence[ClientView]:
        """At most `limit` clients in ascending order of id, those above `after` only."""
        ...

    def drain_node(self, node_id: str) -> bool:
        """Give the node no more requests. False: there is no such node."""
        ...

    def kick(self, client_id: int, reason: str) -> bool:
        """End the client's connection, with `reason` as text for it. False: there is no such client."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text."""
        ...
