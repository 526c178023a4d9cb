"""Where somebody is in a channel with history, and what stands there.

A channel with history is a log. Its `epoch` is a name that no other log has; a log that is begun anew has another one.
Offsets count from 1 without gaps.
"""

from typing import NamedTuple

from msgspec import Struct


class Position(NamedTuple):
    """All up to this offset, of the log of this epoch. Offset 0: nothing yet."""

    epoch: str
    offset: int


class Publication(Struct, gc=False):
    """What was published to a channel. offset: its place in the log; 0: in none. sender: of a client that has
    published it, what others may know, as JSON; b"": a node has. text is valid UTF-8."""

    payload: bytes
    is_text: bool
    offset: int = 0
    sender: bytes = b""
