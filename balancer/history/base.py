"""The seam of logs: what a store of channels with history can do. A contract suite tests every one of them.

A log is a channel's: an epoch, which no other log has had, and offsets from 1 without gaps. Nobody owns one. Each proxy
that gets a publication has it appended, under an identity that is the same at all of them: the first append counts, and
the others learn its place.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from holdfast.protocols.errors import HoldfastError

# Of `read`, after: behind whatever there is.
END = 2**53


class Keep(NamedTuple):
    """What a channel's log keeps, at most: the newest publications, so many, so many bytes of payload (0: no limit by
    that), and none older than so many seconds. A log to which nothing was published for so long is forgotten."""

    messages: int
    bytes: int
    age: float


class Logged(NamedTuple):
    """A publication in a log. note: what the proxies have added, opaque to the store. at: when it was appended, by the
    wall clock of who did, in seconds."""

    offset: int
    identity: bytes
    payload: bytes
    is_text: bool
    note: bytes
    at: float


class Append(NamedTuple):
    """A publication for a log. identity: the same wherever it is appended, and no other's."""

    channel: str
    identity: bytes
    payload: bytes
    is_text: bool
    note: bytes
    keep: Keep


class Appended(NamedTuple):
    """Where it is. is_new: it was not there before; else this is what the first append was told, whether it is kept
    still or not."""

    epoch: str
    offset: int
    is_new: bool


class Page(NamedTuple):
    """Of a log. first: the oldest offset that is kept, last + 1 if none is; last: the newest that was given. No log:
    epoch "", first 1, last 0."""

    epoch: str
    first: int
    last: int
    publications: list[Logged]


class LogUnavailable(HoldfastError):
    """The store can't be asked, or answers what no log could. Of an append nobody knows whether it was done; it may be
    asked for again."""


class Log(Protocol):
    """is_blocking: its methods wait for a disk or the network, and are to be called in a thread, one at a time. Each
    may raise LogUnavailable."""

    is_blocking: bool

    def append(self, appends: Sequence[Append], now: float) -> list[Appended]:
        """All of them, in this order. What has an identity that the channel's log has, or had within the time for which
        identities are remembered, is not appended again. now: the wall clock."""
        ...

    def read(self, channel: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
        """What is kept with offsets above `after`, the oldest first: at most `limit`, and so many bytes of payload, but
        one if there is one, however large."""
        ...

    def news(self, cursor: str, limit: int) -> tuple[str, list[tuple[str, str, int]]]:
        """Which logs have changed since then: channel, epoch and last offset of each, once. Returns the next cursor,
        too. "": from now on. Cheap when nothing has."""
        ...

    def renew(self, channel: str, epoch: str) -> str:
        """Begin the log anew, empty, with another epoch, if this is its epoch. Returns the one that it has now.
        Identities are remembered as before."""
        ...

    def close(self) -> None:
        """Nothing follows."""
        ...
