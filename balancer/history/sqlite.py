"""The logs of one machine: its proxies share a file.

Owns what is done in each transaction, and that none takes long: a part of the cleaning up goes with each append.
Refuses to go on with the logs of a former boot: what a power cut has undone was given out by nobody who would notice,
so that after one all begin anew (docs/adr/0039-log.md).
"""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from holdfast.balancer.coordination.base import CoordinationError
from holdfast.balancer.coordination.sqlite_file import SqliteFile, boot_id
from holdfast.balancer.history.base import (
    END,
    MAX_IDENTITIES,
    MAX_NEWS,
    REMEMBER,
    RENEWED_AGE,
    TINY_BYTES,
    Append,
    Appended,
    Log,
    LogUnavailable,
    Page,
    check,
    new_epoch,
)
from holdfast.balancer.history.contents import appended_of, news_of, number_of, page_of, time_of
from holdfast.balancer.history.sqlite_tables import (
    SCHEMA,
    TABLES,
    LogRow,
    Tables,
    changed_since,
    first_within_age,
    log_of,
    publications,
    store_row,
)

Result = TypeVar("Result")

# With one append: logs that have ended, publications for which there is no room, identities and two for each new one.
ENDED_AT_ONCE = 8
MAKING_ROOM_AT_ONCE = 256
FORGOTTEN_AT_ONCE = 16


class SqliteLog(Log):
    """A Log in an SQLite file, which is made if it is not there; so is a new one when it was deleted.

    timeout: half of it is for what others are just writing. max_bytes: of all logs, as sizes are counted (base).
    remember_seconds: for which identities are known, if there are not more than max_identities. clock: the wall's,
    where the time is no argument.
    """

    is_blocking = True

    def __init__(
        self,
        path: str,
        timeout: float,
        max_bytes: int,
        remember_seconds: float = REMEMBER,
        max_identities: int = MAX_IDENTITIES,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], str] = boot_id,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._remember = remember_seconds
        self._max_identities = max_identities
        self._clock = clock
        self._boot = boot
        self._entropy = entropy
        self._file = SqliteFile(path, timeout / 2, self._set_up)
        self.made_room = 0
        self.forgotten_early = 0

    def append(self, appends: Sequence[Append], now: float) -> list[Appended]:
        check(appends)
        return self._transact("BEGIN IMMEDIATE", lambda db: self._append(Tables(db, now), appends))

    def read(self, channel: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
        def read(db: sqlite3.Connection) -> Page:
            row = log_of(db, channel)
            if row is None or row.ends <= now:
                return Page("", 1, 0, [])
            first = first_within_age(db, row, now)
            start = min(max(after, first - 1), END)
            return page_of(row.epoch, first, row.last, publications(db, row, start, limit, max_bytes), start)

        return self._transact("BEGIN", read)

    def news(self, cursor: str, limit: int) -> tuple[str, list[tuple[str, str, int]]]:
        def news(db: sqlite3.Connection) -> tuple[str, list[tuple[str, str, int]]]:
            store, change, _ = store_row(db)
            if not cursor:
                return f"{store} {change}", []
            since, _, seen = cursor.partition(" ")
            start = int(seen)
            if since != store or start > change:  # another file, or one that was brought back
                start = -1
            found = changed_since(db, start, min(limit, MAX_NEWS), self._clock())
            if not found:
                return f"{store} {max(start, 0)}", []
            return f"{store} {number_of(found[-1][3])}", news_of(each[:3] for each in found)

        return self._transact("BEGIN", news)

    def renew(self, channel: str, epoch: str) -> str:
        return self._transact("BEGIN IMMEDIATE", lambda db: self._renew(Tables(db, self._clock()), channel, epoch))

    def close(self) -> None:
        self._file.close()

    def _transact(self, begin: str, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            return self._file.transact(begin, operation)
        except CoordinationError as error:
            raise LogUnavailable(str(error)) from error
        except LogUnavailable as error:
            raise LogUnavailable(f"{self._path}: {error}") from error

    def _set_up(self, db: sqlite3.Connection) -> None:
        for statement in SCHEMA:
            db.execute(statement)
        boot = self._boot()
        if db.execute(
            "UPDATE store SET boot = ?, id = ?, size = 0 WHERE boot <> ?", (boot, self._name(), boot)
        ).rowcount:
            for table in TABLES:
                db.execute(f"DELETE FROM {table}")

    def _name(self) -> str:
        return new_epoch(self._clock(), self._entropy(4))

    # --- within a transaction -----------------------------------------------------------------------------------

    def _append(self, tables: Tables, appends: Sequence[Append]) -> list[Appended]:
        for row in tables.ended(ENDED_AT_ONCE):
            tables.forget(row)
        rows: dict[str, LogRow] = {}  # that have changed
        appended = [self._append_one(tables, rows, append) for append in appends]
        for row in rows.values():
            tables.trim(row)
            tables.write(row)
        self._make_room(tables, rows)
        self._forget_identities(tables, FORGOTTEN_AT_ONCE + 2 * len(appends))
        tables.save()
        return appended

    def _append_one(self, tables: Tables, rows: dict[str, LogRow], append: Append) -> Appended:
        place = tables.db.execute(
            "SELECT epoch, number FROM known WHERE channel = ? AND identity = ? AND at > ?",
            (append.channel, append.identity, tables.now - self._remember),
        ).fetchone()
        if place is not None:
            known_epoch, known_offset = place
            return appended_of(known_epoch, known_offset, 0)
        row = rows.get(append.channel)
        if row is None:
            row = tables.present(append.channel)
            if row is None:
                age = append.keep.age
                row = tables.begin(append.channel, self._name(), age, tables.now + age)
            rows[append.channel] = row
        if row.age != append.keep.age or row.keep not in (None, append.keep):
            tables.trim(row)  # what is gone by what was said before stays so
        tables.add(row, append)
        tables.db.execute(
            "REPLACE INTO known (channel, identity, epoch, number, at) VALUES (?, ?, ?, ?, ?)",
            (append.channel, append.identity, row.epoch, row.last, tables.now),
        )
        return Appended(row.epoch, row.last, True)

    def _renew(self, tables: Tables, channel: str, epoch: str) -> str:
        row = tables.present(channel)
        if (row.epoch if row is not None else "") == epoch:
            age, ends = RENEWED_AGE, tables.now + RENEWED_AGE
            if row is not None:
                age, ends = row.age, row.ends
                tables.forget(row)
            row = tables.begin(channel, self._name(), age, ends)
        tables.save()
        return row.epoch if row is not None else ""

    def _make_room(self, tables: Tables, changed: dict[str, LogRow]) -> None:
        for _ in range(MAKING_ROOM_AT_ONCE):
            if tables.size <= self._max_bytes:
                return
            row = tables.largest()
            if row is None:
                return
            if row.size < TINY_BYTES:
                row = tables.longest_unchanged() or row
                if row.channel not in changed:
                    tables.forget(row)
                    self.made_room += 1
                    continue
            if row.last < row.first:
                return
            self.made_room += 1
            tables.drop_oldest(row)
            tables.write(row)

    def _forget_identities(self, tables: Tables, limit: int) -> None:
        db = tables.db
        [(first, end)] = db.execute("SELECT coalesce(min(id), 0), coalesce(max(id) + 1, 0) FROM known").fetchall()
        too_many = number_of(end) - number_of(first) - self._max_identities
        forgotten = -1
        for index, (number, at) in enumerate(db.execute("SELECT id, at FROM known ORDER BY id LIMIT ?", (limit,))):
            if index >= too_many and time_of(at) > tables.now - self._remember:
                break
            forgotten = number
        if forgotten >= 0:
            self.forgotten_early += too_many > 0
            db.execute("DELETE FROM known WHERE id <= ?", (forgotten,))
