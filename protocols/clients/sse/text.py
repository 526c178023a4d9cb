"""Events as they are written (HTML, section 9.2.5), and messages in them.

Owns what of a publication is said. Bare: its payload, over as many `data` lines as it has; a client puts "\\n" between
them, whichever ends they had, and bytes come in base64. In an envelope: JSON with the channel, and whatever else there
is to know.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.protocols.clients.embedding import embed
from holdfast.protocols.close import Reason, shown
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.protocols.positions import Publication

CONTENT_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"

_encode = msgspec.json.Encoder().encode


def event(data: bytes | None, *, id: str = "", kind: str = "") -> bytes:
    """One event. data: None: it only sets the id, and no listener hears of it."""
    said = f"id: {id}\n".encode() if id else b""
    if kind:
        said += f"event: {kind}\n".encode()
    if data is not None:
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        said += b"data: %b\n" % data.replace(b"\n", b"\ndata: ")
    return said + b"\n"


def retry(seconds: float) -> bytes:
    """How long a client that has lost the stream waits before it comes back."""
    return b"retry: %d\n\n" % max(0, round(seconds * 1000))


def told(kind: str, what: Mapping[str, Any]) -> bytes:
    """Something that is no message: for listeners of that kind."""
    return event(_encode(what), kind=kind)


def why(error: HoldfastError) -> dict[str, Any]:
    """What is said of an end."""
    return ended(error.reason, str(error))


def ended(reason: Reason, detail: str) -> dict[str, Any]:
    return {"reason": reason.value, "retryable": reason.retryable, "message": shown(detail)}


def bare(said: Publication) -> bytes:
    """Raises ProtocolError (BAD_REPLY) for text that is not UTF-8."""
    payload = said.payload
    if not said.is_text:
        return b64encode(payload)
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            problem = f"text of {len(payload)} bytes from a node is not valid UTF-8"
            raise ProtocolError(problem, Reason.BAD_REPLY) from error
    return payload


def enveloped(channel: str, said: Publication) -> bytes:
    """As JSON on one line. channel: "": it is of none."""
    name = b'"channel":%b,' % _encode(channel) if channel else b""
    offset = b',"offset":%d' % said.offset if said.offset else b""
    sender = b',"sender":%b' % embed(said.sender, is_text=True) if said.sender else b""
    return b'{%b"data":%b%b%b}' % (name, embed(said.payload, said.is_text), offset, sender)


def polled(id: str, messages: Sequence[bytes], unrecovered: Mapping[str, str]) -> bytes:
    """The answer to a poll. messages: in envelopes. unrecovered: why, by channel."""
    lost = [{"channel": channel, "message": detail} for channel, detail in unrecovered.items()]
    more = b',"unrecovered":%b' % _encode(lost) if lost else b""
    return b'{"id":%b,"messages":[%b]%b}' % (_encode(id), b",".join(messages), more)
