"""The load generator counts what a client would have waited, also when it could not ask because nobody answered."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from bench.build import SOURCES
from bench.load import Load
from bench.process import Process

CPU = min(os.sched_getaffinity(0))
RATE, SECONDS, STOPPED = 1000, 0.2, 0.5
LONG = 100_000  # us: more than any answer takes, less than half of the time it was stopped
CONNECTIONS = 10


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("programs")
    for name in ("load", "echo"):
        subprocess.run(["gcc", "-std=gnu11", "-o", folder / name, SOURCES / f"{name}.c"], check=True)
    return folder


@pytest.fixture
def backend(programs):
    with Process(programs / "echo", cpu=CPU) as process:
        yield process


@pytest.fixture
def load(programs, backend):
    port = backend.read()["port"]
    with Process(programs / "load", f"--port={port}", f"--connections={CONNECTIONS}", cpu=CPU) as process:
        assert process.read() == {"connected": CONNECTIONS}
        yield Load(process)


def test_a_pace_sends_what_it_says(load):
    outcome = load.pace(RATE, SECONDS)
    assert outcome.messages == RATE * SECONDS
    assert outcome.seconds >= SECONDS * (1 - 1 / (RATE * SECONDS))


def test_a_message_that_could_not_leave_has_waited_since_it_was_due(load, backend):
    """All are due while the backend is stopped, and only one of each connection leaves: the others have waited too."""
    os.kill(backend.pid, signal.SIGSTOP)
    load.process.write(f"pace {RATE} {SECONDS}")
    time.sleep(STOPPED)  # what is measured: how long it was stopped
    os.kill(backend.pid, signal.SIGCONT)
    outcome = load.process.read()
    assert outcome["messages"] == RATE * SECONDS
    assert outcome["p50_us"] > LONG


def test_a_closed_loop_does_not_count_what_it_did_not_ask(load, backend):
    """The same in a closed loop: so it is the pace that makes the difference."""
    os.kill(backend.pid, signal.SIGSTOP)
    load.process.write(f"echo {SECONDS + STOPPED}")
    time.sleep(STOPPED)
    os.kill(backend.pid, signal.SIGCONT)
    assert load.process.read()["p50_us"] < LONG
