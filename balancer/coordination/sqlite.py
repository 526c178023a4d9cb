"""The coordination store of one machine: its proxies share a file.

Owns nothing but the file. Refuses to take the times of a former boot for its own: they are of CLOCK_MONOTONIC, which
all processes of a machine share and which begins anew with each boot, so that after one the cards have ended, and the
record stays. It needs the boot id that Linux has, and a disk of this machine (docs/adr/0010-store-sqlite.md).
"""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

import trio

from holdfast.balancer.coordination.base import CoordinationError, Coordinator, MasterRecord
from holdfast.balancer.coordination.contents import (
    MAX_CARD_BYTES,
    MAX_CARDS,
    MAX_NAME_LENGTH,
    MAX_RECORD_BYTES,
    cards_of,
    record_of,
)
from holdfast.balancer.coordination.sqlite_file import SqliteFile, boot_id
from holdfast.balancer.coordination.threads import StoreThread

Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection, float], Result]  # within a transaction; the time is read after it has begun

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS cards (proxy TEXT PRIMARY KEY, card BLOB NOT NULL, ends REAL NOT NULL)",
    # one row
    "CREATE TABLE IF NOT EXISTS cluster (boot TEXT NOT NULL, epoch INTEGER NOT NULL, node TEXT NOT NULL)",
    "INSERT INTO cluster SELECT '', 0, '' WHERE NOT EXISTS (SELECT * FROM cluster)",
)

# Columns have any type and size, whatever the schema says. No more is read than what can be right, and some.
CARDS = (
    f"SELECT substr(proxy, 1, {MAX_NAME_LENGTH + 1}), "
    f"CASE WHEN typeof(ends) = 'real' AND typeof(card) = 'blob' AND length(card) <= {MAX_CARD_BYTES} THEN card END "
    f"FROM cards WHERE ends > ? LIMIT {MAX_CARDS + 1}"  # text is greater than any number
)
RECORD = (
    "SELECT CASE typeof(epoch) WHEN 'integer' THEN epoch ELSE substr(epoch, 1, 64) END, "
    f"substr(node, 1, {MAX_RECORD_BYTES + 1}) FROM cluster LIMIT 2"
)


class SqliteCoordinator(Coordinator):
    """A Coordinator in an SQLite file, which is made if it is not there; so is a new one when it was deleted."""

    def __init__(
        self,
        path: str,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._clock = clock
        self._boot = boot
        self._thread = StoreThread(path, timeout)
        # less than `timeout`, so that it is SQLite that says what it waited for
        self._file = SqliteFile(path, timeout / 2, self._set_up)

    async def put_card(self, proxy: str, card: bytes, ttl: float) -> None:
        def put(db: sqlite3.Connection, now: float) -> None:
            db.execute("DELETE FROM cards WHERE ends <= ?", (now,))  # proxies come under new names: they would pile up
            db.execute("REPLACE INTO cards VALUES (?, ?, ?)", (proxy, card, now + ttl))

        await self._write(put)

    async def refresh_card(self, proxy: str, ttl: float) -> bool:
        def refresh(db: sqlite3.Connection, now: float) -> bool:
            cursor = db.execute("UPDATE cards SET ends = ? WHERE proxy = ? AND ends > ?", (now + ttl, proxy, now))
            return cursor.rowcount == 1

        return await self._write(refresh)

    async def drop_card(self, proxy: str) -> None:
        def drop(db: sqlite3.Connection, now: float) -> None:
            db.execute("DELETE FROM cards WHERE proxy = ?", (proxy,))

        await self._write(drop)

    async def cards(self) -> dict[str, bytes]:
        def read(db: sqlite3.Connection, now: float) -> dict[str, bytes]:
            return cards_of(db.execute(CARDS, (now,)).fetchall())

        return await self._read(read)

    async def master(self) -> MasterRecord:
        return await self._read(_record)

    async def swap_master(self, expected: int, record: MasterRecord) -> MasterRecord:
        if record.epoch <= expected:
            raise ValueError(f"expected an epoch greater than {expected}, got {record.epoch}")

        def swap(db: sqlite3.Connection, now: float) -> MasterRecord:
            db.execute("UPDATE cluster SET epoch = ?, node = ? WHERE epoch = ?", (record.epoch, record.node, expected))
            return _record(db, now)

        return await self._write(swap)

    async def aclose(self) -> None:
        await self._thread.close(self._file.close)

    async def _read(self, operation: Operation[Result]) -> Result:
        return await self._thread.call(self._transact, "BEGIN", operation)

    async def _write(self, operation: Operation[Result]) -> Result:
        return await self._thread.call(self._transact, "BEGIN IMMEDIATE", operation)

    # --- in the thread ------------------------------------------------------------------------------------------

    def _transact(self, begin: str, operation: Operation[Result]) -> Result:
        def transact(db: sqlite3.Connection) -> Result:
            # That was the wait. If whoever asked has given up meanwhile, nothing is to happen any more.
            trio.from_thread.check_cancelled()
            return operation(db, self._clock())

        return self._file.transact(begin, transact)

    def _set_up(self, db: sqlite3.Connection) -> None:
        for statement in SCHEMA:
            db.execute(statement)
        boot = self._boot()
        if db.execute("UPDATE cluster SET boot = ? WHERE boot <> ?", (boot, boot)).rowcount:
            db.execute("DELETE FROM cards")


def _record(db: sqlite3.Connection, now: float) -> MasterRecord:
    rows = db.execute(RECORD).fetchall()
    if len(rows) != 1 or rows[0] == (None, None):
        raise CoordinationError("expected one record in the table cluster")
    return record_of(*rows[0])
