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

# What a store takes, and what it may give back.
MAX_IDENTITY_BYTES = 256
MAX_NOTE_BYTES = 64 << 10
MAX_PAYLOAD_BYTES = 64 << 20
MAX_NEWS = 1000

# Defaults of every store: for how long identities are known, in seconds, and how many, of all channels.
REMEMBER = 600.0
MAX_IDENTITIES = 1_000_000

# What a publication and a log take beside their contents, as all stores count it for `max_bytes`.
PUBLICATION_BYTES = 200
LOG_BYTES = 1000

# If no log is as large as this, it is not publications that there are too many of, but logs: then the one to which
# nothing came for longest goes.
TINY_BYTES = 2 * LOG_BYTES

# For how long a log is there that was begun where none was, and has no publications that say.
RENEWED_AGE = 3600.0


class Keep(NamedTuple):
    """What a channel's log keeps, at most: the newest publications, so many, so many bytes of payload (0: no limit by
    that), and none older than so many seconds. A log to which nothing was published for so long is forgotten."""

    messages: int
    bytes: int
    age: float


class Logged(NamedTuple):
    """A publication in a log. note: what the proxies have added, opaque to the store. at: when it was appended, in
    seconds since 1970, by the wall clock of who did, or the store's; not before the publication ahead of it."""

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
    may raise LogUnavailable.

    A store that came back without the last that it was told, as a Redis may after a failover or from a backup, has the
    epochs that it had, and gives offsets again that it has given before. Whoever gave such a publication out notices:
    what is appended gets an offset that is not above the last one. It renews the log then. A store that came back empty
    gives other epochs, always.

    made_room: publications, and logs, that this object has dropped for want of room (max_bytes). forgotten_early: how
    often it has forgotten identities before their time (max_identities).
    """

    is_blocking: bool
    made_room: int
    forgotten_early: int

    def append(self, appends: Sequence[Append], now: float) -> list[Appended]:
        """All of them, in this order; those of a channel as one, but for a batch that is too large for that. What has
        an identity that was appended to the channel within the time for which identities are remembered, or somewhat
        longer ago, is not appended again, whatever became of the log. now: the wall clock.

        Nothing to append: what has ended is forgotten, some of it. Raises ValueError, and appends nothing, for what is
        larger than a store takes (`check`).
        """
        ...

    def read(self, channel: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
        """What is kept with offsets above `after`, the oldest first: at most `limit`, and so many bytes of payload, but
        one if there is one, however large. A store may have a limit of its own, and so give fewer."""
        ...

    def news(self, cursor: str, limit: int) -> tuple[str, list[tuple[str, str, int]]]:
        """Which logs have changed since then: channel, epoch and last offset of each, once, as it is now; those that
        changed first come first. Returns the next cursor, too: with as many as `limit`, or MAX_NEWS, there may be more.
        "": from now on. Cheap when nothing has. That a log has ended is no news; after a store was emptied or replaced,
        whatever it has is.
        """
        ...

    def renew(self, channel: str, epoch: str) -> str:
        """Begin the log anew, empty, with another epoch, if this is its epoch. Returns the one that it has now; "" if
        there is no log. Identities are remembered as before, with the places that they had. Not published to, it ends
        when it would have ended; where there was none (epoch ""), after RENEWED_AGE.
        """
        ...

    def close(self) -> None:
        """Nothing follows."""
        ...


def check(appends: Sequence[Append]) -> None:
    """Raises ValueError for what no store takes: of more than its limits."""
    for append in appends:
        for what, size, limit in (
            ("an identity", len(append.identity), MAX_IDENTITY_BYTES),
            ("a note", len(append.note), MAX_NOTE_BYTES),
            ("a payload", len(append.payload), MAX_PAYLOAD_BYTES),
        ):
            if size > limit:
                raise ValueError(f"{what}: expected at most {limit} bytes, got {size}")


def new_epoch(now: float, entropy: bytes) -> str:
    """An epoch that no other log has: `entropy` is random, and the clock is in it, in case that it is not."""
    return f"{int(now * 1000):x}-{entropy.hex()}"


def size_of(append: Append) -> int:
    """What counts for `max_bytes`."""
    return len(append.payload) + len(append.note) + len(append.identity) + PUBLICATION_BYTES
