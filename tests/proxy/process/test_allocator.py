"""Freed memory stays with the process: what was touched once is not faulted in again."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is another's here")

# Six turns, each of which handles 4 MiB in blocks of 64 KiB and one of 1 MiB; the page faults of the last five.
TURNS = """
import resource, sys
from holdfast.proxy.process import allocator

if sys.argv[1] == "kept":
    allocator.keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def turn():
    blocks = [b"x" * (64 << 10) for _ in range(48)]
    blocks.append(b"y" * (1 << 20))

turn()
before = faults()
for _ in range(5):
    turn()
print(faults() - before)
"""
PAGES = 5 * (4 << 20) // os.sysconf("SC_PAGE_SIZE")


def faults_of_turns(how):
    # Without the environment's own settings of malloc, which win.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", TURNS, how]
    return int(subprocess.run(command, env=environment, capture_output=True, check=True, timeout=30).stdout)


def test_pages_that_were_freed_are_not_faulted_in_again():
    assert faults_of_turns("kept") < PAGES / 10


def test_by_default_they_are():
    """Else the rest proves nothing, and the module is not needed."""
    assert faults_of_turns("as it is") > PAGES / 2
