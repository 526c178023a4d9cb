"""`holdfast demo` as a user runs it; and nothing of it is left, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def children(parent):
    """Pids of processes that a demo with this pid has started, whoever their parent is now."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has just ended
            continue
        if b"holdfast.cli.child" in arguments and str(parent).encode() in arguments and state != "Z":
            found.append(int(directory.name))
    return found


@pytest.fixture
def demo():
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "holdfast", "demo", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_line(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the demo ended without saying {text!r}")


def wait_until_none_is_left(pid):
    """The kernel kills them when their parent has ended; that takes a moment."""
    end = time.monotonic() + PATIENCE
    while children(pid):
        assert time.monotonic() < end, f"left behind: {children(pid)}"
        time.sleep(0.01)


def test_demo_ends_by_itself_and_well(demo):
    process = demo("--for", "5s")
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out
    assert "clients connect to ws://127.0.0.1:" in out
    assert "kill node-" in out
    assert "Nothing was lost." in out
    assert children(process.pid) == []


def test_ctrl_c_ends_it_with_the_report(demo):
    process = demo()
    wait_for_line(process, "kill node-")
    assert len(children(process.pid)) >= 4  # the proxy, the clients, two nodes at least
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out
    assert "Nothing was lost." in out
    assert children(process.pid) == []


def test_kill_9_leaves_nothing(demo):
    process = demo()
    wait_for_line(process, "kill node-")
    frozen = children(process.pid)[0]
    os.kill(frozen, signal.SIGSTOP)
    process.kill()
    process.wait(PATIENCE)
    wait_until_none_is_left(process.pid)
