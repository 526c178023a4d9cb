"""The command line.

command   what a command is, and options that several share
serve     holdfast serve
node      holdfast node
demo      holdfast demo; chaos: holdfast chaos; bench: holdfast bench; durations: times as their options take them
operate   holdfast status, nodes, clients, drain, kick: through the admin server
settings  holdfast check, config
keygen    holdfast keygen

A new command is a Command in a module of its own and its name in COMMANDS.
Exit status: 0, 1 for a failure, 2 for what the operator has to write otherwise (options, their values, configuration).
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from holdfast.cli import bench, chaos, demo, keygen, node, operate, serve, settings
from holdfast.cli.command import Command
from holdfast.console.output import complain
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.proxy.process.build import description

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    node.COMMAND,
    demo.COMMAND,
    chaos.COMMAND,
    bench.COMMAND,
    *operate.COMMANDS,
    *settings.COMMANDS,
    keygen.COMMAND,
)

INTERRUPTED = 130  # what shells make of a process that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; argparse itself exits, with 2, for a bad usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None:  # it was closed (`>&-`)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    try:
        parsed = _parser(arguments).parse_args(arguments)
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except ConfigError as error:
        complain(str(error))
        return 2
    except HoldfastError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has seen enough (`holdfast clients | head`); Python would complain once more when it exits
        _write_no_more()
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _write_no_more()
        complain(f"can't write: {error.strerror}")
        return 1
    return status


def _write_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
        subparser.set_defaults(run=command.run)
        if command.name in arguments:  # no other can be the one that is asked for
            command.add_arguments(subparser)
    return parser
