"""What a cluster tells its shell to do. In a list of them, published messages are in order."""

from typing import NamedTuple

from holdfast.protocols.peers.frames import Member, Record


class Publish(NamedTuple):
    """Send on PUB."""

    data: bytes


class Ask(NamedTuple):
    """Send to the peer on its DEALER. It may be lost: what matters is asked again."""

    peer: str
    data: bytes


class Dial(NamedTuple):
    """Open a SUB and a DEALER to this peer."""

    member: Member


class HangUp(NamedTuple):
    """Close them."""

    peer: str


class Write(NamedTuple):
    """Compare and set the store's record, then read record and cards: Cluster.stored follows, or store_failed."""

    record: Record
    expected: int


class Fence(NamedTuple):
    """We are not ready, or are again."""

    on: bool


class CloseClients(NamedTuple):
    """fence_timeout has passed: close all sessions, and refuse new ones until Fence(False)."""


class Introduce(NamedTuple):
    """Tell nodes of these proxies: id, router's address, whether it is heard; by this set of members."""

    peers: list[tuple[str, str, bool]]
    ballot: int


Action = Publish | Ask | Dial | HangUp | Write | Fence | CloseClients | Introduce
