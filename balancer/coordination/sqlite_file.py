"""An SQLite file that several processes share, whatever becomes of it: deleted, replaced, busy, overwritten.

Owns the connection, of one thread at a time. Refuses to ask a connection again that has failed, since it may be what
keeps the others from being well: they share the -shm that it has open, for as long as one has it. When the file and its
log (-wal, -shm) are gone, it is well again at the next operations.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from holdfast.balancer.coordination.base import CoordinationError, StoreRefusal

Result = TypeVar("Result")
FileId = tuple[int, int]  # device and inode

RETRY = 0.002  # seconds
# The file is none of ours, or not to be had: its folder is missing, or not for us. What else SQLite says may pass.
REFUSALS = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY})


def boot_id() -> str:
    """Of the running kernel: another after each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class SqliteFile:
    """The file, which is made if it is not there; so is a new one when it was deleted.

    busy_timeout: for which another process's transaction is waited for. set_up: makes the tables, in a transaction of
    its own, of each new connection.
    """

    def __init__(self, path: str, busy_timeout: float, set_up: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._set_up_tables = set_up
        self._open: tuple[sqlite3.Connection, FileId] | None = None  # set up, and of which file

    def transact(self, begin: str, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        """What it returns; all that it has done, or nothing. begin: BEGIN IMMEDIATE for what writes, since a
        transaction that reads before it takes the lock can't be carried on when another has written.

        Raises CoordinationError, or StoreRefusal.
        """
        try:
            db = self._connect()
            with db:
                db.execute(begin)
                return operation(db)
        except (CoordinationError, sqlite3.Error, OSError, OverflowError) as error:  # SQLite's integers have 64 bits
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code != sqlite3.SQLITE_BUSY:  # that is another's doing, who will be done
                self.close()
            kind = StoreRefusal if code in REFUSALS else CoordinationError
            raise kind(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Nothing is open then; the next operation opens it again."""
        if self._open is not None:
            db, _ = self._open
            self._open = None
            db.close()

    def _connect(self) -> sqlite3.Connection:
        """The connection; a new one when the file is not the one that it has open, which nobody else sees any more."""
        if self._open is not None:
            db, file = self._open
            with suppress(FileNotFoundError):
                if file == self._file_at_path():
                    return db
            self.close()
        db = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False)
        try:
            file = self._file_at_path()  # now: if another one is there later, it is not this
            self._set_up(db)
        except BaseException:
            db.close()
            raise
        self._open = db, file
        return db

    def _set_up(self, db: sqlite3.Connection) -> None:
        # Few writes then wait for the disk. A power cut may undo the last ones: it ends what they were about, too.
        self._keep_a_log(db)
        db.execute("PRAGMA synchronous = NORMAL")
        with db:
            db.execute("BEGIN IMMEDIATE")
            self._set_up_tables(db)

    def _keep_a_log(self, db: sqlite3.Connection) -> None:
        """Sets the journal mode. SQLite refuses at once, and does not wait, when another is just setting it."""
        end = time.monotonic() + self._busy_timeout
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                    raise
                time.sleep(RETRY)

    def _file_at_path(self) -> FileId:
        status = os.stat(self._path)
        return status.st_dev, status.st_ino
