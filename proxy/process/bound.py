"""Where a proxy is bound: what is announced when it serves."""

from msgspec import Struct


class Bound(Struct, frozen=True):
    """client, admin: "host:port". node: ZeroMQ endpoints. pub: that of cluster.pub; "" for a proxy that is alone.

    protocols: as client.protocols has them, "name://host:port".
    """

    client: list[str]
    node: list[str]
    admin: str
    pub: str = ""
    protocols: list[str] = []
