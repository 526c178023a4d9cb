"""The processes of demo and chaos die with the one that started them, however that one ends.

`python -m proxy.chaos.child PARENT COMMAND ...` is `holdfast COMMAND ...`, or with COMMAND `load` the built-in clients,
in a process that the kernel kills when its parent has ended: SIGKILL, which a stopped process gets too. The parent
must start it from its main thread, because the kernel watches the thread.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """parent: the pid. If it is gone already, this process ends here."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def main() -> int:
    parent, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    if arguments[0] == "load":
        from proxy.chaos import load_worker

        return load_worker.main(arguments[1])
    from proxy import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
