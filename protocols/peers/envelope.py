"""One message between proxies: `digest + body`, the body msgpack `[proxy, number, [frame, ...]]`.

The digest is blake2b over the body, keyed with the shared token: it finds garbled bytes and strangers at once, also on
PUB, where there is no hello. number: 1 and on, of the published stream; 0: an ask or an answer, which stands alone.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from holdfast.protocols.errors import FrameError
from holdfast.protocols.peers.frames import Frame
from holdfast.protocols.peers.ranges import Id, Number

DIGEST_BYTES = 16
_MAX_KEY_BYTES = 64  # of blake2b


class Envelope(Struct, array_like=True, frozen=True, gc=False):
    """What a message says. proxy: the sender's id."""

    proxy: Id
    number: Number
    frames: list[Frame]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def seal(token: bytes, proxy: str, number: int, frames: Sequence[Frame]) -> bytes:
    """A message. token: what all proxies share; b"" only finds accidents."""
    body = _encoder.encode((proxy, number, frames))
    return _digest(token, body) + body


def unseal(token: bytes, data: bytes) -> Envelope:
    """What `seal` was given. Raises FrameError for whatever does not come from there with the same token."""
    digest, body = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if not hmac.compare_digest(digest, _digest(token, body)):
        raise FrameError(f"garbled, or of another token ({len(data)} bytes)")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not an envelope ({len(data)} bytes): {error}") from error


def _digest(token: bytes, body: bytes) -> bytes:
    # A token may be longer than a key: then all of it counts, not only its beginning.
    key = token if len(token) <= _MAX_KEY_BYTES else blake2b(token).digest()
    return blake2b(body, key=key, digest_size=DIGEST_BYTES).digest()
