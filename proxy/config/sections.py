"""The sections of the configuration as Structs, with the defaults. proxy.config.keys says what each key means.

Sections of the node side are balancer.settings's own; [client] is what adapters may do (protocols.clients.base)
and what the proxy adds to it. Sizes in bytes, times in seconds.
"""

from typing import Literal

from msgspec import Struct

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.balancer.settings import (
    BalanceSettings,
    ClusterSettings,
    ElectionSettings,
    HistorySettings,
    NodeSettings,
    RequestSettings,
    RouteSettings,
    StateSettings,
    StoreSettings,
)
from holdfast.protocols.clients.base import Limits


class ClientSettings(Limits, frozen=True):
    """Section [client]. It is a Limits: adapters get it as it is."""

    bind: tuple[str, ...] = ("0.0.0.0:7512",)
    protocols: tuple[str, ...] = ()
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    backlog: int = 4096
    reuse_port: bool = False
    send_buffer_bytes: int = 0
    max_buffered_bytes: int = 256 << 20
    max_connections: int = 20_000
    # Off by default: behind another balancer every client has that balancer's address, and a limit would cut
    # all of them off.
    max_connections_per_address: int = 0
    max_message_rate: float = 0.0
    max_in_flight: int = 64
    ordered: bool = False
    max_outbox_bytes: int = 1 << 20
    max_unread_reply_bytes: int = 32 << 20
    max_channels: int = 1000
    admission: Literal["auto", "required"] = "auto"
    jwt_keys: str = ""
    jwt_algorithms: tuple[str, ...] = ()
    jwt_audience: tuple[str, ...] = ()
    jwt_issuer: tuple[str, ...] = ()
    jwt_from: tuple[str, ...] = ("header",)
    jwt_required: bool = True
    jwt_leeway: float = 10.0


class RealtimeSettings(Struct, frozen=True):
    """Section [realtime]: channels and fan-out."""

    max_channels: int = 1_000_000
    max_channel_name_bytes: int = 512
    max_unacknowledged_bytes: int = 4 << 20
    max_remembered_bytes: int = 16 << 20


class AdminSettings(Struct, frozen=True):
    """Section [admin]: the operator's HTTP server."""

    bind: str = "127.0.0.1:7513"
    token: str = ""
    tokens: tuple[str, ...] = ()  # SCOPE:SECRET


class LogSettings(Struct, frozen=True):
    """Section [log]."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    access_log: bool = False
    access_log_sample: float = 1.0


class DrainSettings(Struct, frozen=True):
    """Section [drain]: what happens between SIGTERM and the end."""

    timeout: float = 30.0
    spread: float = 5.0


class Config(Struct, frozen=True):
    """The whole configuration. Config() is valid: it is what `holdfast serve` uses without a file. route, channel:
    those of the file, in order; no sections."""

    client: ClientSettings = ClientSettings()
    node: NodeSettings = NodeSettings()
    request: RequestSettings = RequestSettings()
    balance: BalanceSettings = BalanceSettings()
    election: ElectionSettings = ElectionSettings()
    state: StateSettings = StateSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    store: StoreSettings = StoreSettings()
    history: HistorySettings = HistorySettings()
    cluster: ClusterSettings = ClusterSettings()
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()
    drain: DrainSettings = DrainSettings()
    route: tuple[RouteSettings, ...] = ()
    channel: tuple[ChannelRule, ...] = ()
