"""The name of a proxy's run, as the kernel keeps it."""

import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

from holdfast.proxy.cluster import names

HOLDER = """
import sys
from holdfast.proxy.cluster import names
holder = names.hold(sys.argv[1])
print(holder is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def proxy():
    return os.urandom(8).hex()


@contextmanager
def holding(proxy):
    """A process that has the name."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, proxy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "True\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_is_had_by_one_until_that_one_is_closed(proxy):
    assert names.is_free(proxy)
    with closing(names.hold(proxy)):
        assert not names.is_free(proxy)
        assert names.hold(proxy) is None
    assert names.is_free(proxy)
    assert names.is_free(proxy), "to look takes nothing"


def test_a_process_has_it_as_long_as_it_lives(proxy):
    with holding(proxy) as process:
        assert not names.is_free(proxy)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not names.is_free(proxy), "a frozen process may go on"
        process.kill()
        process.wait()
        assert names.is_free(proxy)


def test_what_can_not_be_a_name_proves_nothing():
    assert not names.is_free("x" * 1000)
