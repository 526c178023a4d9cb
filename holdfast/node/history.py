"""What is kept of a channel with history, as a node is told it: a page, and where to go on."""

from typing import Any

import msgspec
from msgspec import Struct

from holdfast.node.plain import check_number, check_text
from holdfast.protocols.nodes import histories
from holdfast.protocols.nodes.histories import NEWEST
from holdfast.protocols.positions import Position

OFFSETS = range(2**53)


class Kept(Struct, frozen=True):
    """A publication that is kept. offset: its place in the log. at: when it was published, in seconds since 1970.
    sender_json: of a client that has published it, what others may know; b"": a node has."""

    offset: int
    payload: bytes
    is_text: bool
    at: float
    sender_json: bytes = b""

    @property
    def text(self) -> str:
        """The payload as text. Raises UnicodeDecodeError if it is none."""
        return self.payload.decode()

    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """The payload, parsed. Raises ValueError if it is no JSON."""
        return _parsed(self.payload)

    @property
    def sender(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """Of a client that has published it, what others may know; None: a node has."""
        return _parsed(self.sender_json) if self.sender_json else None


class History(Struct, frozen=True):
    """A page of what is kept of a channel, the oldest first, without gaps. epoch: of the log; "": nothing was published
    to it for so long that there is none. first, last: the oldest offset that is kept, last + 1 if none is, and the
    newest that was given. is_whole: nothing that was published after `since` is gone. is_more: there is more after this
    page."""

    epoch: str
    first: int
    last: int
    publications: list[Kept]
    is_whole: bool
    is_more: bool

    @property
    def position(self) -> Position:
        """Where the page ends: `since` of the next one."""
        return Position(self.epoch, self.publications[-1].offset if self.is_more else self.last)

    @classmethod
    def of(cls, frame: histories.History, after: int) -> "History":
        """after: as it was asked for."""
        return cls(
            frame.epoch,
            frame.first,
            frame.last,
            [Kept(each.offset, each.payload, each.is_text, each.at, each.sender) for each in frame.publications],
            after == NEWEST or after + 1 >= frame.first,
            bool(frame.publications) and frame.publications[-1].offset < frame.last,
        )


def place_of(since: Position | int | None) -> tuple[str, int]:
    """As an AskHistory has it: epoch and offset. Raises TypeError, ValueError for what is no position."""
    if since is None:
        return "", NEWEST
    if isinstance(since, tuple):
        if len(since) != 2:
            raise ValueError(f"since: expected a position of an epoch and an offset, got {len(since)} of something")
        return check_text(since[0]), check_number(since[1], OFFSETS, "the offset of since")
    return "", check_number(since, OFFSETS, "since")


def _parsed(data: bytes) -> Any:  # noqa: ANN401 - JSON can be anything
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
