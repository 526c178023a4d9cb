"""`python -m holdfast.chaos.program PARENT PROGRAM ...` becomes PROGRAM, in a process that dies with its parent.

The same for programs that are not ours as proxy.process.child for those that are: the kernel's order outlives the exec.
"""

import os
import sys
from collections.abc import Sequence

from holdfast.proxy.process.child import die_with_parent


def command(arguments: Sequence[str]) -> list[str]:
    """The command line by which this process starts a program."""
    return [sys.executable, "-P", "-m", "holdfast.chaos.program", str(os.getpid()), *arguments]


def main() -> None:
    parent, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main()
