"""Positions in several channels as one text: the id of an event, which a client shows when it comes back.

Base64 for URLs of: a version, and of each channel a checksum of its name, the offset, and the epoch. 50 characters for
one channel. A name is not in it: it may be long, and is in the request beside it. Two names with one checksum have
epochs of their own, so the worst that comes of it is a position that is none in that channel.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final
from zlib import crc32

from holdfast.protocols.positions import Position

MAX_ID: Final = 8 << 10  # characters: of as many channels as a stream may have, each with the longest epoch, a half
_VERSION = 1
_ENTRY = Struct(">IQB")  # checksum, offset, bytes of the epoch
_MAX_EPOCH_BYTES = 255


def write(positions: Mapping[str, Position]) -> str:
    """ "": there are none."""
    said = b""
    for channel, (epoch, offset) in positions.items():
        name = epoch.encode()
        if len(name) <= _MAX_EPOCH_BYTES:
            said += _ENTRY.pack(_sum(channel), offset, len(name)) + name
    return urlsafe_b64encode(bytes((_VERSION,)) + said).decode().rstrip("=") if said else ""


def read(text: str, channels: Iterable[str]) -> dict[str, Position]:
    """Of these channels, those that it has. Raises ValueError for what `write` has not written."""
    if len(text) > MAX_ID:
        raise ValueError(f"an id has at most {MAX_ID} characters, got {len(text)}")
    said = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if said[:1] != bytes((_VERSION,)):
        raise ValueError("the id is of no version that is known")
    found: dict[int, Position] = {}
    place = 1
    while place < len(said):
        if place + _ENTRY.size > len(said):
            raise ValueError("the id is cut off")
        checksum, offset, size = _ENTRY.unpack_from(said, place)
        place += _ENTRY.size
        if place + size > len(said) or offset >= 1 << 63:
            raise ValueError("the id is cut off, or an offset in it is none")
        found[checksum] = Position(said[place : place + size].decode(), offset)
        place += size
    return {channel: found[checksum] for channel in channels if (checksum := _sum(channel)) in found}


def _sum(channel: str) -> int:
    return crc32(channel.encode(errors="replace"))
