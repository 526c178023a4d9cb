"""What one node is asked besides clients' requests, and what nodes ask each other through a proxy. Frames of the node
link, see protocols.nodes.frames.

A Call is answered as a request is, by a Reply or a Failure with its id and attempt. Field order is the wire order; new
fields go to the end with a default.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import carried
from holdfast.protocols.nodes.effects import MAX_EFFECTS, Effect
from holdfast.protocols.nodes.names import MAX_NAME

# Of a Call, and of what a Hello says that it takes. connect: whether a client may open a session; the reply's payload
# is an Admitted. open, close: a client has come, has gone; told to one node. ask: another node's question. publish: do
# these effects, for somebody who is no node; the payload is a list of them. subscribe: whether a client may subscribe
# to a channel; the reply's payload is a Granted. publication: a client publishes to one; whoever answers has it
# published.
CONNECT, OPEN, CLOSE, ASK, PUBLISH = "connect", "open", "close", "ask", "publish"
SUBSCRIBE, PUBLICATION = "subscribe", "publication"
UPDATE = "update"  # of what a Welcome says that it takes, beside ask
MAX_TAKES = 32
MAX_JOINED = 10_000  # channels that a client is in from the beginning

Takes = Annotated[list[str], Meta(max_length=MAX_TAKES)]


class Call(Struct, array_like=True, frozen=True, gc=False, tag=64):
    """proxy to node: something that one node of those that take this kind is to answer.

    timeout: milliseconds left; attempt: 1, and one more for each redelivery. client, info: of all but ask and publish,
    the client's id and the Client, encoded. sender: of ask, the id of the node that asks. before: attempts of it
    through proxies that were lost. payload: of close the reason, in UTF-8. channel: of subscribe and publication.
    token: of subscribe, what the client shows, as it came: nobody has looked at it. is_filter: of subscribe, the
    channel is a filter of many (`+`, `#`).
    """

    id: int
    attempt: int
    timeout: int
    kind: str
    payload: bytes = b""
    is_text: bool = False
    client: int = 0
    info: bytes = b""
    sender: str = ""
    before: int = 0
    channel: str = ""
    token: str = ""
    is_filter: bool = False


class Ask(Struct, array_like=True, frozen=True, gc=False, tag=29):
    """node to proxy: have a node answer this, or do it. Answered by Answered, of the same number.

    to: a node's id, or else the name of some: one that is ready. everyone: each that is ready, of this name; one
    Answered for each. timeout: milliseconds. attempt: above 1 if it was asked before, through a proxy that was lost.
    """

    ask: int
    to: Annotated[str, Meta(max_length=MAX_NAME)]
    payload: bytes
    is_text: bool
    timeout: Annotated[int, Meta(gt=0)]
    everyone: bool = False
    attempt: Annotated[int, Meta(gt=0)] = 1


class Answered(Struct, array_like=True, frozen=True, gc=False, tag=65):
    """proxy to node: the answer to an Ask, or one of them. node: whose; "": nobody's. status: 200, or of the failure
    that `message` tells. left: so many answers of the same Ask are still to come."""

    ask: int
    node: str
    status: int
    payload: bytes = b""
    is_text: bool = False
    message: str = ""
    left: int = 0


class Admitted(Struct, array_like=True, frozen=True, gc=False):
    """The payload of a reply to a connect: who the client is. Not a frame.

    data: as `carried.check` has it, or b"": none. channels: it is in them from the beginning. expires: seconds until
    its session ends; 0.0: it does not.
    """

    user: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    data: bytes = b""
    channels: Annotated[list[str], Meta(max_length=MAX_JOINED)] = []
    expires: Annotated[float, Meta(ge=0)] = 0.0


class Granted(Struct, array_like=True, frozen=True, gc=False):
    """The payload of a reply to a subscribe: the client may. Not a frame.

    info: what it is told with that, as `carried.check` has it, or b"": nothing. recovers: whether it gets what it has
    missed, if it says where it was. expires: seconds until the subscription ends, unless it asks again; 0.0: it does
    not.
    """

    info: bytes = b""
    recovers: bool = True
    expires: Annotated[float, Meta(ge=0)] = 0.0


_admitted: msgspec.msgpack.Decoder[Admitted] = msgspec.msgpack.Decoder(Admitted)
_effects: msgspec.msgpack.Decoder[list[Effect]] = msgspec.msgpack.Decoder(
    Annotated[list[Effect], Meta(max_length=MAX_EFFECTS)]
)
_granted: msgspec.msgpack.Decoder[Granted] = msgspec.msgpack.Decoder(Granted)
_encoder = msgspec.msgpack.Encoder()


def decode_admitted(data: bytes) -> Admitted:
    """Raises FrameError for whatever is none. Nothing at all: anybody."""
    if not data:
        return Admitted()
    try:
        admitted = _admitted.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"no word of who a client is ({len(data)} bytes): {error}") from error
    carried.check(admitted.data)
    return admitted


def encode_admitted(admitted: Admitted) -> bytes:
    return _encoder.encode(admitted)


def decode_granted(data: bytes) -> Granted:
    """Raises FrameError for whatever is none. Nothing at all: it may."""
    if not data:
        return Granted()
    try:
        granted = _granted.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"no word of a subscription ({len(data)} bytes): {error}") from error
    carried.check(granted.info, "info of a subscription")
    return granted


def encode_granted(granted: Granted) -> bytes:
    return _encoder.encode(granted)


def decode_effects(data: bytes) -> list[Effect]:
    """The payload of a publish. Raises FrameError for whatever is none."""
    try:
        return _effects.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"no list of effects ({len(data)} bytes): {error}") from error


def encode_effects(effects: list[Effect]) -> bytes:
    return _encoder.encode(effects)
