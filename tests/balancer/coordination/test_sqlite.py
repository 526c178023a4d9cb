"""What can happen to the file, and to time. What every store promises is in tests/contracts/test_coordinator.py."""

import os
import sqlite3
import subprocess
import sys
import time

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.sqlite import SqliteCoordinator

TIMEOUT = 20.0
LONG = 1000.0
RECORD = MasterRecord(4, "a")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
async def make(path):
    """Coordinators of the same file, each as another process would have it."""
    made = []

    def make(timeout=TIMEOUT, **options):
        made.append(SqliteCoordinator(path, timeout, **options))
        return made[-1]

    yield make
    for coordinator in made:
        await coordinator.aclose()


def other_writer(path):
    """Another process's connection, in the middle of a transaction: it has the file's lock until it is closed."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


class TestFile:
    async def test_is_shared(self, make):
        one, other = make(), make()
        await one.put_card("p", b"card", LONG)
        await one.swap_master(0, RECORD)
        assert await other.cards() == {"p": b"card"}
        assert await other.master() == RECORD

    async def test_is_made_by_many_at_once(self, tmp_path):
        for number in range(40):
            coordinators = [SqliteCoordinator(str(tmp_path / str(number)), TIMEOUT) for _ in range(4)]
            async with trio.open_nursery() as nursery:  # each has a thread of its own
                for index, coordinator in enumerate(coordinators):
                    nursery.start_soon(coordinator.put_card, f"p{index}", b"card", TIMEOUT)
            assert len(await coordinators[0].cards()) == len(coordinators)
            for coordinator in coordinators:
                await coordinator.aclose()

    async def test_keeps_what_it_has_when_all_have_gone(self, make, path):
        coordinator = make()
        await coordinator.swap_master(0, RECORD)
        await coordinator.put_card("p", b"card", LONG)
        await coordinator.aclose()
        assert os.listdir(os.path.dirname(path)) == ["store"], "closed: no write-ahead log is left"
        later = make()
        assert await later.master() == RECORD
        assert await later.cards() == {"p": b"card"}

    async def test_that_was_deleted_is_made_anew_by_whoever_comes_first(self, make, path):
        one, other = make(), make()
        await one.put_card("p", b"card", LONG)
        await one.swap_master(0, RECORD)
        assert await other.master() == RECORD
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        assert await one.master() == MasterRecord()
        assert not await one.refresh_card("p", LONG)
        second = MasterRecord(5, "b")
        assert await other.swap_master(0, second) == second
        assert await one.master() == second, "nobody goes on with the file that nobody else sees"

    async def test_deleted_without_its_log_is_made_anew(self, make, path):
        one, other = make(), make()
        await one.swap_master(0, RECORD)
        assert await other.master() == RECORD
        os.unlink(path)
        second = MasterRecord(5, "b")
        assert await other.swap_master(0, second) == second
        assert await one.master() == second
        assert await other.master() == second

    async def test_deleted_while_it_could_not_be_set_up_is_made_anew(self, make, path):
        coordinator = make(timeout=0.2)
        writer = other_writer(path)
        with pytest.raises(CoordinationError, match="database is locked"):
            await coordinator.master()
        writer.close()
        os.unlink(path)
        assert await coordinator.master() == MasterRecord()
        assert os.listdir(os.path.dirname(path))

    async def test_that_has_lost_its_tables_is_set_up_anew(self, make, path):
        coordinator = make()
        await coordinator.swap_master(0, RECORD)
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE cluster")
        connection.close()
        with pytest.raises(CoordinationError, match="no such table"):
            await coordinator.master()
        assert await coordinator.master() == MasterRecord()

    async def test_that_is_locked_makes_writes_fail_and_can_be_read(self, make, path):
        coordinator = make(timeout=0.2)
        await coordinator.swap_master(0, RECORD)
        writer = other_writer(path)
        with pytest.raises(CoordinationError, match=f"{path}: database is locked"):
            await coordinator.put_card("p", b"", LONG)
        assert await coordinator.master() == RECORD
        writer.close()
        await coordinator.put_card("p", b"", LONG)
        assert await coordinator.cards() == {"p": b""}

    async def test_in_a_folder_that_is_not_there(self, tmp_path):
        path = str(tmp_path / "none" / "store")
        coordinator = SqliteCoordinator(path, TIMEOUT)
        with pytest.raises(CoordinationError, match=f"{path}: unable to open database file"):
            await coordinator.master()
        os.mkdir(os.path.dirname(path))
        assert await coordinator.master() == MasterRecord()
        await coordinator.aclose()

    async def test_that_is_something_else(self, make, path):
        await trio.Path(path).write_bytes(b"this is no database, but a text of some length" * 100)
        with pytest.raises(CoordinationError, match=f"{path}: file is not a database"):
            await make().cards()

    async def test_an_epoch_too_large_for_it_is_refused(self, make):
        coordinator = make()
        with pytest.raises(CoordinationError, match="too large"):
            await coordinator.swap_master(0, MasterRecord(1 << 63, "a"))
        assert await coordinator.master() == MasterRecord()


class TestDisk:
    """A full disk and a read-only one, for real: in a mount namespace of its own."""

    SCRIPT = """
import sys, trio
from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.sqlite import SqliteCoordinator

async def main():
    coordinator = SqliteCoordinator(sys.argv[1], 5.0)
    for operation in (
        coordinator.swap_master(0, MasterRecord(4, "a")),
        coordinator.put_card("p", bytes(100_000), 1.0),
        coordinator.master(),
    ):
        try:
            print(await operation, flush=True)
        except CoordinationError as error:
            print(error, flush=True)
        input()
    await coordinator.aclose()

trio.run(main)
"""

    def run(self, folder, steps):
        """What the lines of shell `steps` print, with `store` to run the script, in a folder with little space."""
        folder.mkdir()
        unshare = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
        if subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", folder], capture_output=True).returncode:
            pytest.skip("needs the right to mount, or user namespaces")
        script = f"""
            set -e
            mount -t tmpfs -o size=200k none {folder}
            store() {{ {sys.executable} -c '{self.SCRIPT}' {folder}/store; }}
            {steps}
        """
        done = subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.stdout.splitlines()

    def test_that_is_full(self, tmp_path):
        folder = tmp_path / "mnt"
        fill = f"head -c 300k /dev/zero >{folder}/other 2>/dev/null || true"
        swap, put, master = self.run(
            folder,
            f"""
            mkfifo {folder}/in
            exec 3<>{folder}/in
            store <&3 | {{ read -r line; echo "$line"; {fill}; echo >&3; echo >&3; echo >&3; cat; }}
            """,
        )
        assert swap == master == "MasterRecord(epoch=4, node='a')"
        assert put == f"{folder}/store: database or disk is full"

    def test_that_is_read_only(self, tmp_path):
        folder = tmp_path / "mnt"
        said = self.run(folder, f"yes '' | store >{folder}/first; mount -o remount,ro {folder}; yes '' | store")
        assert said == [f"{folder}/store: attempt to write a readonly database"] * 3


class TestTime:
    @pytest.mark.parametrize("uptime", [5.0, 90_000.0])
    async def test_of_a_former_boot_is_not_trusted(self, make, uptime):
        former = make(clock=lambda: 80_000.0, boot=lambda: "former")
        await former.put_card("p", b"card", 20_000.0)
        await former.swap_master(0, RECORD)
        await former.aclose()
        present = make(clock=lambda: uptime, boot=lambda: "present")
        assert await present.cards() == {}
        assert not await present.refresh_card("p", LONG)
        assert await present.master() == RECORD, "the epoch is kept"

    async def test_is_shared_by_the_processes_of_a_machine(self, make):
        coordinator = make()
        ask = "import time; print(time.monotonic())"
        before = time.monotonic()
        other = await trio.run_process([sys.executable, "-c", ask], capture_stdout=True)
        assert before < float(other.stdout) < time.monotonic()
        await coordinator.put_card("p", b"", 0.001)
        while await coordinator.cards():
            pass


class TestCancellation:
    async def test_leaves_no_trace_when_it_comes_while_the_file_is_locked(self, make, path):
        coordinator = make()
        await coordinator.master()
        writer = other_writer(path)
        with trio.fail_after(TIMEOUT / 4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(coordinator.swap_master, 0, RECORD)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        writer.close()
        await coordinator.put_card("p", b"", LONG)  # waits for the thread to be free again
        assert await coordinator.master() == MasterRecord()
