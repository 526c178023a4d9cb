"""holdfast node: run a node. All of it is the node library's own, which is imported only when it is asked for."""

import argparse

from proxy.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from holdfast import runner

    runner.add_arguments(parser)


def _run(arguments: argparse.Namespace) -> int:
    from holdfast import runner

    return runner.main(arguments)


COMMAND = Command("node", "run a node", _add_arguments, _run, "Loads MODULE:NAME and links it to the proxies given.")
