"""The tables of logs in an SQLite file, as they are within one transaction.

Owns what each log's row says of its publications. Each step is one statement or a few, of a cost that does not grow
with the log. What is read may be anything (contents).
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Callable

from holdfast.balancer.history.base import (
    LOG_BYTES,
    MAX_IDENTITY_BYTES,
    MAX_NOTE_BYTES,
    MAX_PAYLOAD_BYTES,
    PUBLICATION_BYTES,
    Append,
    Keep,
    LogUnavailable,
    size_of,
)
from holdfast.balancer.history.contents import MAX_EPOCH_LENGTH, MAX_NAME_BYTES, epoch_of, number_of, time_of

TABLES = ("logs", "publications", "known")
SCHEMA = (
    # one row. id: of this file, since the last boot. change: of the log that has last changed. size: of all logs
    "CREATE TABLE IF NOT EXISTS store (boot TEXT NOT NULL, id TEXT NOT NULL, change INTEGER NOT NULL, "
    "size INTEGER NOT NULL)",
    "INSERT INTO store SELECT '', '', 0, 0 WHERE NOT EXISTS (SELECT * FROM store)",
    # oldest: when the first that is kept was appended
    "CREATE TABLE IF NOT EXISTS logs (log INTEGER PRIMARY KEY, channel TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL, "
    "first INTEGER NOT NULL, last INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, size INTEGER NOT NULL, "
    "at REAL NOT NULL, oldest REAL NOT NULL, age REAL NOT NULL, ends REAL NOT NULL, change INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS logs_change ON logs (change)",
    "CREATE INDEX IF NOT EXISTS logs_ends ON logs (ends)",
    "CREATE INDEX IF NOT EXISTS logs_size ON logs (size)",
    "CREATE TABLE IF NOT EXISTS publications (log INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, "
    "is_text INTEGER NOT NULL, identity BLOB NOT NULL, note BLOB NOT NULL, payload BLOB NOT NULL, "
    "PRIMARY KEY (log, number)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS known (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, identity BLOB NOT NULL, "
    "epoch TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, UNIQUE (channel, identity))",
)

# Columns have any type and size, whatever the schema says. No more is read than what can be right, and some.
_LOG = (
    f"SELECT log, channel, substr(epoch, 1, {MAX_EPOCH_LENGTH + 1}), first, last, payload_bytes, size, "
    "at, oldest, age, ends, change FROM logs"
)
_PUBLICATIONS = (
    f"SELECT number, CASE WHEN length(identity) <= {MAX_IDENTITY_BYTES} THEN identity END, "
    f"CASE WHEN length(payload) <= {MAX_PAYLOAD_BYTES} THEN payload END, is_text, "
    f"CASE WHEN length(note) <= {MAX_NOTE_BYTES} THEN note END, at "
    "FROM publications WHERE log = ? AND number > ? ORDER BY number LIMIT ?"
)


class LogRow:
    """A log's row. keep: what the last append said; after reading only its age."""

    __slots__ = ("age", "at", "change", "channel", "ends", "epoch", "first", "keep", "last", "log", "oldest",
                 "payload_bytes", "size")  # fmt: skip

    def __init__(self, row: tuple[object, ...]) -> None:
        log, channel, epoch, *counts, at, oldest, age, ends, change = row
        if not isinstance(channel, str):
            raise LogUnavailable("a log: expected a channel's name")
        self.log, self.channel, self.epoch = number_of(log), channel, epoch_of(epoch)
        self.first, self.last, self.payload_bytes, self.size = map(number_of, counts)
        self.at, self.oldest, self.age, self.ends = map(time_of, (at, oldest, age, ends))
        self.change = number_of(change)
        self.keep: Keep | None = None


class Tables:
    """db: in a transaction that writes. now: the time that it is there. save() is the last step."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self.db = db
        self.now = now
        self.id, self._change, self.size = store_row(db)

    def save(self) -> None:
        self.db.execute("UPDATE store SET change = ?, size = ?", (self._change, self.size))

    def present(self, channel: str) -> LogRow | None:
        """The channel's log. One that has ended is forgotten."""
        row = log_of(self.db, channel)
        if row is not None and row.ends <= self.now:
            self.forget(row)
            return None
        return row

    def ended(self, limit: int) -> list[LogRow]:
        return [
            LogRow(row) for row in self.db.execute(f"{_LOG} WHERE ends <= ? ORDER BY ends LIMIT ?", (self.now, limit))
        ]

    def largest(self) -> LogRow | None:
        return self._first("size DESC")

    def longest_unchanged(self) -> LogRow | None:
        return self._first("change")

    def begin(self, channel: str, epoch: str, age: float, ends: float) -> LogRow:
        change = self._next_change()
        cursor = self.db.execute(
            "INSERT INTO logs (channel, epoch, first, last, payload_bytes, size, at, oldest, age, ends, change) "
            "VALUES (?, ?, 1, 0, 0, ?, ?, ?, ?, ?, ?)",
            (channel, epoch, LOG_BYTES, self.now, self.now, age, ends, change),
        )
        self.size += LOG_BYTES
        now = self.now
        return LogRow((cursor.lastrowid, channel, epoch, 1, 0, 0, LOG_BYTES, now, now, age, ends, change))

    def write(self, row: LogRow) -> None:
        self.db.execute(
            "UPDATE logs SET first = ?, last = ?, payload_bytes = ?, size = ?, at = ?, oldest = ?, age = ?, ends = ?, "
            "change = ? WHERE log = ?",
            (
                row.first,
                row.last,
                row.payload_bytes,
                row.size,
                row.at,
                row.oldest,
                row.age,
                row.ends,
                row.change,
                row.log,
            ),
        )

    def forget(self, row: LogRow) -> None:
        self.db.execute("DELETE FROM publications WHERE log = ?", (row.log,))
        self.db.execute("DELETE FROM logs WHERE log = ?", (row.log,))
        self.size -= row.size

    def add(self, row: LogRow, append: Append) -> None:
        """The row is to be written afterwards."""
        row.at = max(row.at, self.now)
        if row.last < row.first:
            row.oldest = row.at
        row.last += 1
        self.db.execute(
            "INSERT INTO publications (log, number, at, is_text, identity, note, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.log, row.last, row.at, append.is_text, append.identity, append.note, append.payload),
        )
        row.payload_bytes += len(append.payload)
        self._grow(row, size_of(append))
        row.keep, row.age, row.ends = append.keep, append.keep.age, row.at + append.keep.age
        row.change = self._next_change()

    def trim(self, row: LogRow) -> None:
        """As its keep says, or its age. The row is to be written afterwards."""
        keep = row.keep
        self._drop(
            row,
            lambda: (
                row.oldest + row.age <= self.now
                or (keep is not None and row.last - row.first >= keep.messages)
                or (keep is not None and 0 < keep.bytes < row.payload_bytes)
            ),
        )

    def drop_oldest(self, row: LogRow) -> None:
        """The row is to be written afterwards."""
        first = row.first
        self._drop(row, lambda: row.first == first)

    def _drop(self, row: LogRow, is_too_much: Callable[[], bool]) -> None:
        if row.first > row.last or not is_too_much():
            return
        found = self.db.execute(
            "SELECT number, at, length(payload), length(identity) + length(note) FROM publications "
            "WHERE log = ? AND number >= ? ORDER BY number",
            (row.log, row.first),
        )
        for number, at, payload_bytes, other_bytes in found:  # as far as needed: SQLite reads step by step
            row.oldest = time_of(at)
            if not is_too_much():
                break
            row.first = number_of(number) + 1
            row.payload_bytes -= number_of(payload_bytes)
            self._grow(row, -(number_of(payload_bytes) + number_of(other_bytes) + PUBLICATION_BYTES))
        else:
            row.first = row.last + 1
        found.close()
        self.db.execute("DELETE FROM publications WHERE log = ? AND number < ?", (row.log, row.first))

    def _grow(self, row: LogRow, by: int) -> None:
        row.size += by
        self.size += by

    def _next_change(self) -> int:
        # By the clock, so that after a backup came back no cursor is ahead of what changes then.
        self._change = max(self._change + 1, int(self.now * 1e6))
        return self._change

    def _first(self, order: str) -> LogRow | None:
        row = self.db.execute(f"{_LOG} ORDER BY {order} LIMIT 1").fetchone()
        return None if row is None else LogRow(row)


def store_row(db: sqlite3.Connection) -> tuple[str, int, int]:
    """id, last change, size"""
    rows = db.execute(f"SELECT substr(id, 1, {MAX_EPOCH_LENGTH + 1}), change, size FROM store LIMIT 2").fetchall()
    if len(rows) != 1:
        raise LogUnavailable("expected one row in the table store")
    identity, change, size = rows[0]
    return epoch_of(identity), number_of(change), number_of(size)


def log_of(db: sqlite3.Connection, channel: str) -> LogRow | None:
    """The channel's row, whether it has ended or not."""
    row = db.execute(f"{_LOG} WHERE channel = ?", (channel,)).fetchone()
    return None if row is None else LogRow(row)


def changed_since(
    db: sqlite3.Connection, change: int, limit: int, now: float
) -> list[tuple[object, object, object, object]]:
    """channel, epoch, last and change of each log that has not ended."""
    return db.execute(
        f"SELECT substr(channel, 1, {MAX_NAME_BYTES + 1}), substr(epoch, 1, {MAX_EPOCH_LENGTH + 1}), last, change "
        "FROM logs WHERE change > ? AND ends > ? ORDER BY change LIMIT ?",
        (change, now, limit),
    ).fetchall()


def first_within_age(db: sqlite3.Connection, row: LogRow, now: float) -> int:
    """The oldest offset that is kept at this time: what is older is cleaned up with the next append only."""
    if row.oldest + row.age > now:
        return row.first

    def at(number: int) -> float:
        found = db.execute("SELECT at FROM publications WHERE log = ? AND number = ?", (row.log, number)).fetchone()
        if found is None:
            raise LogUnavailable(f"a log: expected offset {number} of {row.first} to {row.last}")
        return time_of(found[0]) + row.age

    offsets = range(row.first, row.last + 1)
    return row.first + bisect_right(offsets, now, key=at)


def publications(
    db: sqlite3.Connection, row: LogRow, after: int, limit: int, max_bytes: int
) -> list[tuple[object, ...]]:
    """What page_of takes."""
    found: list[tuple[object, ...]] = []
    for publication in db.execute(_PUBLICATIONS, (row.log, after, limit)):
        payload = publication[2]
        size = len(payload) if isinstance(payload, bytes) else 0
        if found and size > max_bytes:
            break
        found.append(publication)
        max_bytes -= size
    return found
