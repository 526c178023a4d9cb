"""Files of an SQLite store that are deleted or overwritten, in each order, under two processes that use it.

Two processes, for within one SQLite shares more than two proxies do.
"""

from itertools import product
from pathlib import Path

import pytest

from holdfast.balancer.settings import StoreSettings
from tests.balancer.coordination.test_processes import contenders

TIMEOUT = 20.0
FILE, LOG, INDEX = "store", "store-wal", "store-shm"
ALL = (FILE, LOG, INDEX)


class Users:
    """Two processes and their store."""

    def __init__(self, folder: Path, processes) -> None:
        self.folder = folder
        self.processes = processes

    def ask(self, index: int) -> str:
        """The epoch that it wins, or what went wrong."""
        process = self.processes[index]
        process.stdin.write("\n")
        said = process.stdout.readline().strip()
        assert said
        return said

    def ask_both(self) -> list[str]:
        return [self.ask(0), self.ask(1)]

    def delete(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def overwrite(self, content: bytes) -> None:
        """In place, for who has it open as well."""
        (self.folder / FILE).write_bytes(content)

    def are_well(self) -> bool:
        """Each sees what the other has written."""
        said = self.ask_both()
        return all(word.isdecimal() for word in said) and int(said[0]) + 1 == int(said[1])


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deletions")
    settings = StoreSettings(kind="sqlite", path=str(folder / FILE), timeout=TIMEOUT)
    with contenders(settings, ("answer", "a"), ("answer", "b")) as processes:
        yield Users(folder, processes)


HARMS = {
    "the file": lambda users: users.delete(FILE),
    "all": lambda users: users.delete(*ALL),
    "the log": lambda users: users.delete(LOG),
    "the index": lambda users: users.delete(INDEX),
    "the file and the log": lambda users: users.delete(FILE, LOG),
    "the file and the index": lambda users: users.delete(FILE, INDEX),
    "the log and the index": lambda users: users.delete(LOG, INDEX),
    "overwritten": lambda users: users.overwrite(b"garbage" * 1000),
    "emptied": lambda users: users.overwrite(b""),
}
ASKS = {
    "nobody": lambda users: None,
    "one": lambda users: users.ask(0),
    "both": lambda users: users.ask_both(),
}


@pytest.mark.parametrize("harm", HARMS)
def test_it_is_well_again_when_it_is_gone(users, harm):
    """Whatever went before, and whoever has noticed: at once when all of it is deleted, else when each has failed."""
    for last, asks in product((ALL, (FILE,)), ASKS):
        assert users.are_well(), "before"
        HARMS[harm](users)
        ASKS[asks](users)
        users.delete(*last)
        if last != ALL:
            users.ask_both()
        assert users.are_well(), f"{asks}, then {last} is deleted"
        assert (users.folder / FILE).exists()
