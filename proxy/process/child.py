"""Processes that die with the one that started them, however that one ends: workers of `serve`, all of demo and chaos.

The kernel kills them when their parent has ended: SIGKILL, which a stopped process gets too. The parent must start them
from its main thread, because the kernel watches the thread. What such a process runs says holdfast.cli.child.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def command(arguments: Sequence[str]) -> list[str]:
    """The command line by which this process starts `holdfast ARGUMENTS`."""
    return [sys.executable, "-P", "-m", "holdfast.cli.child", str(os.getpid()), *arguments]


async def wait(popen: subprocess.Popen[bytes]) -> int:
    """Its exit status; minus the signal's number if one has ended it."""
    import trio  # not in the child, before it watches its parent

    while (status := popen.poll()) is None:  # then it is not reaped either, and the pid is still its own
        descriptor = os.pidfd_open(popen.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
    return status


def die_with_parent(parent: int) -> None:
    """parent: the pid. If it is gone already, this process ends here."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)
