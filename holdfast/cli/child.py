"""`python -m holdfast.cli.child PARENT COMMAND ...` is `holdfast COMMAND ...`, in a process that dies with its parent.

With COMMAND `load` it is the built-in clients of demo and chaos, with `listen` the listeners of a flood. See
proxy.process.child.
"""

import sys

from holdfast.proxy.process.child import die_with_parent


def main() -> int:
    parent, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    if arguments[0] == "load":
        from holdfast.chaos import load_worker

        return load_worker.main(arguments[1])
    if arguments[0] == "listen":
        from holdfast.chaos import listeners

        return listeners.main(arguments[1])
    from holdfast import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
