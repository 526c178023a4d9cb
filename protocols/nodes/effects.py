"""Effects: what nodes do to clients and channels through proxies. Frames of the node link, see protocols.nodes.frames.

They travel bare, inside a reply, or, with several proxies, numbered in Effects. Field order is the wire order; new
fields go to the end with a default.
"""

from array import array
from collections.abc import Iterable, Sequence
from sys import byteorder

from msgspec import Struct

from protocols.errors import FrameError


class Join(Struct, array_like=True, frozen=True, gc=False, tag=20):
    client: int
    channel: str


class Leave(Struct, array_like=True, frozen=True, gc=False, tag=21):
    client: int
    channel: str


class Notify(Struct, array_like=True, frozen=True, gc=False, tag=22):
    """A message to every client in the channels, once per channel, and to each of the clients; none to `exclude`.

    clients, exclude: packed ids.
    """

    payload: bytes
    is_text: bool
    channels: list[str]
    clients: bytes = b""
    exclude: bytes = b""


class Broadcast(Struct, array_like=True, frozen=True, gc=False, tag=23):
    """A message to every client."""

    payload: bytes
    is_text: bool
    exclude: bytes = b""


class CloseClient(Struct, array_like=True, frozen=True, gc=False, tag=24):
    """End a client's connection, as kicked, with `reason` as text for it."""

    client: int
    reason: str = ""


Effect = Join | Leave | Notify | Broadcast | CloseClient


class AsMaster(Struct, array_like=True, frozen=True, gc=False, tag=25):
    """Effects that hold only while the sender is master of `epoch`; else the proxy refuses them all."""

    epoch: int
    effects: list[Effect]


class Effects(Struct, array_like=True, frozen=True, gc=False, tag=26):
    """Effects that are numbered, acknowledged, and sent again in the next session if they were not.

    number: grows within a run of the node, with holes. home, request, part: of a reply's part, from 1, which proxy and
    request it is for, so that another node's attempt does not do the same again; request 0: of no reply.
    """

    number: int
    effects: list[Effect | AsMaster]
    home: str = ""
    request: int = 0
    part: int = 0


class Hole(Struct, array_like=True, frozen=True, gc=False, tag=27):
    """Effects up to this number that have not come will not come: the node could not keep them."""

    number: int


def pack_ids(ids: Iterable[int]) -> bytes:
    """Client ids as little-endian 64-bit numbers, one after another."""
    numbers = array("Q", ids)
    if byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack_ids(packed: bytes) -> Sequence[int]:
    """The ids of `pack_ids`. Raises FrameError if it is not a whole number of them."""
    if len(packed) % 8:
        raise FrameError(f"packed client ids must be a multiple of 8 bytes, got {len(packed)}")
    numbers = array("Q", packed)
    if byteorder == "big":
        numbers.byteswap()
    return numbers
