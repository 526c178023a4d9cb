"""What is in a store of logs, as it is read: whoever reaches the store can have put anything there, or be in its place.

Owns the shapes and sizes that a log has. Refuses all else with one line, LogUnavailable: from a log that can't be
understood nobody is told that nothing is missing.
"""

from collections.abc import Iterable, Sequence
from math import isfinite

from holdfast.balancer.history.base import (
    END,
    MAX_IDENTITY_BYTES,
    MAX_NOTE_BYTES,
    MAX_PAYLOAD_BYTES,
    Appended,
    Logged,
    LogUnavailable,
    Page,
)

MAX_EPOCH_LENGTH = 64
MAX_NAME_BYTES = 4096  # of a channel; realtime.max_channel_name_bytes is less
MAX_NUMBER_DIGITS = 16  # of an offset


def appended_of(epoch: object, offset: object, is_new: object) -> Appended:
    """is_new: 0 or 1. Raises LogUnavailable, as all of these do."""
    place = Appended(_epoch(epoch), _offset(offset), _number(is_new, "whether it is new", 1) == 1)
    if not place.epoch or not place.offset:
        raise LogUnavailable("a log without an epoch or an offset")
    return place


def page_of(epoch: object, first: object, last: object, publications: Iterable[Sequence[object]], after: int) -> Page:
    """publications: offset, identity, payload, is_text, note and at of each; those that follow on `after`."""
    page = Page(_epoch(epoch), _offset(first), _offset(last), [])
    if not 1 <= page.first <= page.last + 1 or (not page.epoch and page.last):
        raise LogUnavailable(f"a log: expected some of offsets 1 to {page.last}, got those from {page.first} on")
    expected = max(page.first, after + 1)
    for offset, identity, payload, is_text, note, at in publications:
        found = Logged(
            _offset(offset),
            _bytes(identity, "an identity", MAX_IDENTITY_BYTES),
            _bytes(payload, "a payload", MAX_PAYLOAD_BYTES),
            _number(is_text, "whether it is text", 1) == 1,
            _bytes(note, "a note", MAX_NOTE_BYTES),
            time_of(at),
        )
        if found.offset != expected or expected > page.last:
            raise LogUnavailable(f"a log: expected offset {expected} of {page.last}, got {found.offset}")
        expected += 1
        page.publications.append(found)
    return page


def news_of(found: Iterable[Sequence[object]]) -> list[tuple[str, str, int]]:
    """Channel, epoch and last offset of each."""
    return [
        (_text(channel, "a channel", MAX_NAME_BYTES), _epoch(epoch), _offset(last)) for channel, epoch, last in found
    ]


def epoch_of(epoch: object) -> str:
    """ "": there is no log."""
    return _epoch(epoch)


def time_of(value: object) -> float:
    """Seconds since 1970, or of an age."""
    if type(value) is not float or not isfinite(value):
        raise LogUnavailable(f"a time: expected seconds, got {_shown(value)}")
    return value


def number_of(value: object) -> int:
    """Of whatever a store counts: from 0 to below END."""
    return _number(value, "a number", END - 1)


def _epoch(value: object) -> str:
    return _text(value, "an epoch", MAX_EPOCH_LENGTH)


def _offset(value: object) -> int:
    return _number(value, "an offset", END - 1)


def _number(value: object, what: str, most: int) -> int:
    if isinstance(value, bytes) and len(value) <= MAX_NUMBER_DIGITS and value.isdigit():
        value = int(value)
    if type(value) is not int or not 0 <= value <= most:
        raise LogUnavailable(f"{what}: expected an integer from 0 to {most}, got {_shown(value)}")
    return value


def _text(value: object, what: str, most: int) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = None
    if not isinstance(text, str) or len(text) > most:
        raise LogUnavailable(f"{what}: expected UTF-8 of at most {most} bytes, got {_shown(value)}")
    return text


def _bytes(value: object, what: str, most: int) -> bytes:
    if not isinstance(value, bytes) or len(value) > most:
        raise LogUnavailable(f"{what}: expected at most {most} bytes, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Its kind only: it may be what somebody has said."""
    if isinstance(value, str | bytes):
        return f"{len(value)} of {type(value).__name__}"
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"
