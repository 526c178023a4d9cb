"""What nodes are told of clients, as on the wire: pages of those who are there, and who came and went since.

Part of protocols.nodes.frames, which has the rest and the rules for fields.
"""

import msgspec
from msgspec import Struct

from holdfast.protocols.errors import FrameError


class Client(Struct, array_like=True, frozen=True, gc=False):
    """One client, as nodes know it. Not a frame of its own: part of Clients, Opened and requests.

    path, query: of its handshake or request, without the "?" between them. user: who it is, as its admission said; "":
    nobody has. data: what its application keeps of it, JSON; b"": nothing. claims: of its token, JSON; b"": none.
    """

    id: int
    protocol: str
    address: str
    path: str
    headers: list[tuple[str, str]]
    query: str = ""
    user: str = ""
    data: bytes = b""
    claims: bytes = b""


class Due(Struct, array_like=True, frozen=True, gc=False):
    """A client that has gone, which is to be told to one node yet. Not a frame of its own. reason: "" if nobody knows.
    came: that it had come, too."""

    client: Client
    reason: str
    came: bool = False


class Clients(Struct, array_like=True, frozen=True, gc=False, tag=52):
    """A page of the snapshot: clients that live now. Changes come between pages, and hold for what came before them.

    due: packed ids of those whose coming is to be told to one node yet. gone: clients that are no more, as in Due.
    """

    clients: list[Client]
    last: bool
    due: bytes = b""
    gone: list[Due] = []


class Opened(Struct, array_like=True, frozen=True, gc=False, tag=53):
    """A client has come; or if it was there, it is this now: user and data may have changed, or it is due no more. Not
    a frame of its own: part of Changes. due: one node is to be told yet that it came."""

    client: Client
    due: bool = False


class Closed(Struct, array_like=True, frozen=True, gc=False, tag=54):
    """A client has gone. Not a frame of its own: part of Changes. due: what one node is to be told yet: that it went
    (WENT), and before that that it came (CAME); 0: nothing, or nothing any more. It comes again for each that has been
    told, also of clients of a proxy that is no more."""

    client: int
    reason: str
    due: int = 0


WENT, CAME = 1, 2  # of Closed.due


class Changes(Struct, array_like=True, frozen=True, gc=False, tag=63):
    """Clients that came and went, in this order. They are numbered without a hole: the first of these is `sequence`."""

    sequence: int
    changes: list[Opened | Closed]


_client: msgspec.msgpack.Decoder[Client] = msgspec.msgpack.Decoder(Client)


def decode_client(data: bytes) -> Client:
    """What Request.info has. Raises FrameError for whatever is no client."""
    try:
        return _client.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not a client ({len(data)} bytes): {error}") from error
