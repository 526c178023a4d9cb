"""holdfast node: run a node. All of it is the node library's own, which is imported only when it is asked for."""

import argparse

from holdfast.cli.command import Command
from holdfast.proxy.process import hangup, stderr


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from holdfast.node import runner

    runner.add_arguments(parser)


def _run(arguments: argparse.Namespace) -> int:
    from holdfast.node import runner

    stderr.install()
    return runner.main(arguments, hangup.survive)


COMMAND = Command(
    _add_arguments,
    _run,
    "Loads MODULE:NAME and links it to the proxies given.",
    survives=True,
)
