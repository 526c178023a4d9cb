"""The command line.

command   what a command is, and options that several share
serve     holdfast serve
node      holdfast node
dev       holdfast dev; addresses: where its proxy is bound, and that of demo
demo      holdfast demo; chaos: holdfast chaos; bench: holdfast bench; durations: times as their options take them
operate   holdfast status, nodes, clients, drain, kick: through the admin server
publish   holdfast publish
settings  holdfast check, config
route     holdfast route
keygen    holdfast keygen

A new command is a Command in a module of its own and its name in COMMANDS.
Exit status: 0, 1 for a failure, 2 for what the operator has to write otherwise (options, their values, configuration).
"""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.cli import bench, chaos, demo, dev, keygen, node, operate, publish, route, serve, settings
from holdfast.cli.command import Command
from holdfast.console.output import complain, failure_of_writing, flush, say
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.proxy.process import hangup
from holdfast.proxy.process.build import description

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    node.COMMAND,
    dev.COMMAND,
    demo.COMMAND,
    chaos.COMMAND,
    bench.COMMAND,
    *operate.COMMANDS,
    publish.COMMAND,
    *settings.COMMANDS,
    route.COMMAND,
    keygen.COMMAND,
)

INTERRUPTED = 130  # what shells make of a process that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; argparse itself exits, with 2, for a bad usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None:  # it was closed (`>&-`)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    try:
        return _run(arguments)
    except ConfigError as error:
        complain(str(error))
        return 2
    except HoldfastError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, BaseExceptionGroup) as error:
        failure = failure_of_writing(error)
        if failure is None:
            raise
        # Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if failure.errno != errno.EPIPE:  # else the reader has seen enough: `holdfast clients | head`
            with contextlib.suppress(OSError):
                complain(f"can't write: {failure.strerror}")
        return 1


def _run(arguments: Sequence[str]) -> int:
    parsed = _parser(arguments).parse_args(arguments)
    if not parsed.survives:
        hangup.heed()
    status: int = parsed.run(parsed)
    sys.stdout.flush()
    return status


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        """argparse would not tell that help could not be written."""
        if file is sys.stdout:
            say(message.rstrip())
            flush()
        else:
            super()._print_message(message, file)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="holdfast",
        description="A front proxy and load balancer for realtime backends: clients stay connected while nodes die.",
        epilog="`holdfast COMMAND --help` tells more about a command. Exit status: 0; 1 for a failure; 2 for what "
        "has to be written otherwise, options or configuration; 130 after Ctrl-C where that is no way to end.",
    )
    parser.add_argument("--version", action="version", version=f"holdfast {description()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}. {command.description}".strip(),
        )
        subparser.set_defaults(run=command.run, survives=command.survives)
        if command.name in arguments:  # no other can be the one that is asked for
            command.add_arguments(subparser)
    return parser
