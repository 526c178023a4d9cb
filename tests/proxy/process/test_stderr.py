"""Stderr that nobody reads, that has lost its reader, and that is read again."""

import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.proxy.process.stderr import Stderr

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0


def fill(fd):
    """Until the pipe takes no more. Returns how much that was."""
    os.set_blocking(fd, False)
    count = 0
    try:
        while True:
            count += os.write(fd, b"." * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(fd, True)
    return count


def read(fd, count):
    data = b""
    while len(data) < count:
        assert select.select([fd], [], [], PATIENCE)[0], data
        data += os.read(fd, count - len(data))
    return data


class Told:
    def __init__(self):
        self.counts = []
        self.event = threading.Event()

    def __call__(self, count):
        self.counts.append(count)
        self.event.set()


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    ends = [reader, writer]
    yield ends
    for end in ends:
        os.close(end)


def test_what_is_written_comes_in_order_and_whole(pipe):
    reader, writer = pipe
    stderr = Stderr(writer, Told())
    print("one", "two", file=stderr)
    stderr.write("th")
    stderr.write("ree\nfour")
    stderr.flush()
    stderr.write("\ud800\n")
    stderr.drain(PATIENCE)
    assert os.read(reader, 100) == b"one two\nthree\nfour\\ud800\n"
    assert not stderr.isatty()
    assert stderr.fileno() == writer


def test_nobody_reads_then_somebody_does(pipe):
    """What there is room for comes, what there is none for is counted, and told behind it."""
    reader, writer = pipe
    filled, told = fill(writer), Told()
    stderr = Stderr(writer, told, max_bytes=100)
    for number in range(50):
        stderr.write(f"line {number:04}\n")
    assert stderr.dropped == 40
    assert told.counts == []
    read(reader, filled)
    assert read(reader, 100) == b"".join(b"line %04d\n" % number for number in range(10))
    assert told.event.wait(PATIENCE)
    assert told.counts == [40]
    stderr.write("more\n")
    assert read(reader, 5) == b"more\n"
    assert stderr.dropped == 40


def test_at_the_end_it_waits_as_long_as_there_is_progress_and_no_longer(pipe):
    reader, writer = pipe
    filled = fill(writer)
    stderr = Stderr(writer, Told())
    stderr.write("last\n")
    stderr.drain(0.01)  # it returns: nobody reads
    threading.Thread(target=read, args=(reader, filled)).start()
    stderr.drain(PATIENCE)
    assert read(reader, 5) == b"last\n"


def test_its_reader_has_gone(pipe, tmp_path):
    """Lines are counted as dropped, and that is told when there is somebody again: here another file is put there."""
    told = Told()
    os.close(pipe[0])
    stderr = Stderr(pipe[1], told)
    stderr.write("lost\nlost too\n")
    stderr.drain(PATIENCE)
    assert (stderr.dropped, told.counts) == (2, [])
    with (tmp_path / "log").open("wb") as file:
        os.dup2(file.fileno(), pipe[1])
    pipe[0] = os.dup(pipe[1])
    stderr.write("written\n")
    assert told.event.wait(PATIENCE)
    assert told.counts == [2]
    assert (tmp_path / "log").read_text() == "written\n"


def test_a_pipe_that_another_process_has_made_non_blocking(pipe):
    reader, writer = pipe
    filled = fill(writer)
    os.set_blocking(writer, False)
    stderr = Stderr(writer, Told())
    stderr.write("line\n")
    read(reader, filled)
    assert read(reader, 5) == b"line\n"
    assert stderr.dropped == 0


def test_a_line_without_an_end_is_bounded(pipe):
    stderr = Stderr(pipe[1], Told())
    for _ in range(1001):
        stderr.write(".")
    assert read(pipe[0], 1001) == b"." * 1001


FORKS = """
import os, sys
from holdfast.proxy.process import stderr
stderr.install()
print("parent", file=sys.stderr)
sys.stderr.drain()
if not os.fork():
    print("child", file=sys.stderr)
    os._exit(0)
os.wait()
print("end", file=sys.stderr)
raise SystemExit("last")
"""


def test_a_forked_process_and_what_is_said_last():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (1, "parent\nchild\nend\nlast\n")


def test_what_others_have_put_in_its_place_stays():
    before = sys.stderr
    assert before is not sys.__stderr__, "pytest's"
    from holdfast.proxy.process import stderr

    stderr.install()
    assert sys.stderr is before
    assert stderr.dropped() == 0
