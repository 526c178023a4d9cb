"""What the configuration can set on the node side. Sizes in bytes, times in seconds.

Each of these is a section of the configuration file; proxy.config adds where values come from.
"""

import hmac
from typing import Literal

from msgspec import Struct


class NodeSettings(Struct, frozen=True):
    """Section [node]: the link."""

    bind: tuple[str, ...] = ("tcp://127.0.0.1:7510",)
    token: str = ""
    curve_secret_key_file: str = ""  # made by `holdfast keygen`; turns CURVE on
    curve_authorized_keys: str = ""  # folder of public key files; empty with CURVE: any key, the token decides
    insecure_bind_without_authentication: bool = False
    heartbeat_interval: float = 0.5
    heartbeat_timeout: float = 2.0  # a frozen node is given up after this much silence
    max_nodes: int = 1000
    max_frame_bytes: int = 16 << 20  # one batch from a node
    max_outbox_bytes: int = 64 << 20  # waiting for a node that does not read; then it is lost
    handshake_timeout: float = 10.0  # hello to ready
    max_untaken_bytes: int = 1 << 20  # of a reply in parts that its client has not taken; then its handler waits
    registry_page: int = 500  # clients, or state items, in a page of a snapshot

    def admits(self, token: str) -> bool:
        """Whether a node that presents this one may be one. In a time that tells nothing of ours."""
        return not self.token or hmac.compare_digest(token.encode(), self.token.encode())


class RequestSettings(Struct, frozen=True):
    """Section [request]: deadlines, parking, redelivery."""

    timeout: float = 10.0
    stream_timeout: float = 60.0  # between two parts of a reply; a multiple of what keeps event streams alive
    max_attempts: int = 2  # nodes that may be lost with one request; then it is the request's doing, and ends there
    redelivery: Literal["auto", "never"] = "auto"
    max_in_flight: int = 100_000
    max_parked: int = 50_000  # five seconds of 10,000 requests a second: parked_timeout comes first
    max_parked_bytes: int = 64 << 20
    parked_timeout: float = 5.0
    retry_after: float = 1.0  # hint in a 503

    @property
    def pause(self) -> float:
        """Between two parts of a reply, whatever its route: never less than most have for the first one."""
        return max(self.stream_timeout, self.timeout)


class BalanceSettings(Struct, frozen=True):
    """Section [balance]: the policy and the health of nodes."""

    policy: Literal["failover", "round-robin", "least-in-flight", "p2c-ewma", "weighted", "sticky"] = "least-in-flight"
    sticky_key: str = "client"  # or "header:NAME" or "field:NAME" (of a JSON message)
    slow_start: float = 5.0  # a new node's share grows from a tenth to all within this
    ejection_failures: int = 10  # in a row: 5xx, and timeouts while nothing is answered; 0: never eject
    ejection_time: float = 5.0  # doubles with each ejection in a row
    ejection_time_max: float = 60.0
    ejection_max_share: float = 0.5  # of the ready nodes; the last one is never ejected


class ElectionSettings(Struct, frozen=True):
    """Section [election]."""

    lease: float = 2.0  # a master stops this long after its last renewal


class StoreSettings(Struct, frozen=True):
    """Section [store]: what the proxies of a cluster agree through."""

    kind: Literal["memory", "sqlite", "redis"] = "memory"
    name: str = "default"  # of the cluster, where several share a Redis
    path: str = ""  # sqlite: the file, on a disk of this machine
    urls: tuple[str, ...] = ("redis://127.0.0.1:6379/0",)  # several: nodes of a Redis Cluster; see redis_urls
    password: str = ""
    sentinel_password: str = ""  # of the Sentinels themselves
    timeout: float = 2.0  # for one operation; after it the store counts as gone


class HistorySettings(Struct, frozen=True):
    """Section [history]: the logs of channels that have one."""

    kind: Literal["store", "memory", "sqlite", "redis"] = "store"  # store: as store.kind
    without_store: Literal["deliver", "refuse"] = "deliver"
    max_bytes: int = 512 << 20  # 10,000 channels with 100 messages of 128 bytes, and as much again
    remember: float = 600.0  # identities; nodes keep what they have for a proxy for 60 s
    max_identities: int = 1_000_000


class ClusterSettings(Struct, frozen=True):
    """Section [cluster]: the proxies that share a store. Without a store only minimum_nodes counts."""

    minimum_nodes: int = 1
    pub: str = "tcp://127.0.0.1:7511"
    router: str = ""  # what others dial; empty: the first of node.bind, as bound, a wildcard as _site_
    heartbeat: float = 0.5
    heartbeat_timeout: float = 2.0
    discover_timeout: float = 3.0
    join_attempt_interval: float = 1.0
    retry_join: int = 30
    wait_for_missing_rooms: float = 0.5
    fence_timeout: float = 10.0
    takeover_timeout: float = 60.0


class StateSettings(Struct, frozen=True):
    """Section [state]: the nodes' replicated state."""

    max_keys: int = 1_000_000
    max_bytes: int = 256 << 20
    max_key_bytes: int = 1024
    max_value_bytes: int = 256 << 10
    recover_timeout: float = 2.0  # twice the longest back-off of nodes: each that has the state has come back by then


class RouteSettings(Struct, frozen=True):
    """One [[route]]: what a request must have to be taken by it, each if it is given; and what becomes of it then.

    path to subprotocol: one of these. header: each of these, names in lower case. field: of a message that is a JSON
    object, each of these. nodes: with one of these names, labels: with all of these; empty: any. share: per cent of the
    clients. policy, timeout, redelivery, max_in_flight: "" and 0: as for all. status: of a fixed answer; 0: none.
    """

    name: str
    path: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    header: dict[str, str] = {}
    protocol: tuple[str, ...] = ()
    subprotocol: tuple[str, ...] = ()
    field: dict[str, str | int | bool] = {}
    nodes: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    share: float = 100.0
    policy: Literal["", "failover", "round-robin", "least-in-flight", "p2c-ewma", "weighted", "sticky"] = ""
    timeout: float = 0.0
    redelivery: Literal["", "auto", "never"] = ""
    max_in_flight: int = 0
    status: int = 0
    body: str = ""
    headers: dict[str, str] = {}
    redirect: str = ""
