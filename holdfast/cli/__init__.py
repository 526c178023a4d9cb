"""The command line.

command   what a command is, and options that several share
serve     holdfast serve
node      holdfast node
dev       holdfast dev; addresses: where its proxy is bound, and that of demo
child     one of these in a process that dies with its parent
demo      holdfast demo; chaos: holdfast chaos; bench: holdfast bench; durations: times as their options take them
operate   holdfast status, nodes, clients, drain, kick: through the admin server
publish   holdfast publish
settings  holdfast check, config
route     holdfast route; channel: holdfast channel
keygen    holdfast keygen

A new command is a Command in a module of its own, and its line in COMMANDS: no other command imports what it needs.
Exit status: 0, 1 for a failure, 2 for what the operator has to write otherwise (options, their values, configuration).
"""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from holdfast.cli.command import Command, Listed
from holdfast.console.output import complain, failure_of_writing, flush, say
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.proxy.process import hangup

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


def _in(module: str, name: str = "COMMAND") -> Callable[[], Command]:
    def load() -> Command:
        with contextlib.nullcontext() if module == "node" else _without_rich():
            command: Command = getattr(import_module(f"holdfast.cli.{module}"), name)
        return command

    return load


@contextlib.contextmanager
def _without_rich() -> Iterator[None]:
    """What is imported meanwhile does not find it. structlog would import it, and pygments with it: a tenth of the CPU
    time that a proxy takes to start, for tracebacks in colours, which no log of ours has. Those of a node's author may.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python says that there is none
    try:
        yield
    finally:
        del sys.modules["rich"]


COMMANDS = (
    Listed("serve", "run the proxy", _in("serve")),
    Listed("node", "run a node", _in("node")),
    Listed("dev", "run a proxy and your node, anew after each change", _in("dev")),
    Listed("demo", "see nodes die while clients notice nothing", _in("demo")),
    Listed("chaos", "harm nodes and proxies, and report everything that is lost", _in("chaos")),
    Listed("bench", "put load on any WebSocket echo, and compare every reply", _in("bench")),
    Listed("status", "show how a running proxy is", _in("operate", "STATUS")),
    Listed("nodes", "list the nodes of a running proxy", _in("operate", "NODES")),
    Listed("clients", "list the clients of a running proxy, not those of its cluster", _in("operate", "CLIENTS")),
    Listed("drain", "let a node finish what it has and give it nothing new", _in("operate", "DRAIN")),
    Listed("kick", "disconnect a client, at whichever proxy of the cluster it is", _in("operate", "KICK")),
    Listed("publish", "send a message to clients of a running proxy and its cluster", _in("publish")),
    Listed("check", "say what is wrong with the configuration", _in("settings", "CHECK")),
    Listed("config", "print the configuration and where each value is from", _in("settings", "CONFIG")),
    Listed("route", "say which route takes a request, and why those before it don't", _in("route")),
    Listed("channel", "say which rule takes a channel, and what holds for it", _in("channel")),
    Listed("keygen", "make CURVE keys for the proxy and its nodes", _in("keygen")),
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
        for note in getattr(error, "__notes__", ()):  # where an author's own module has failed
            sys.stderr.write(f"{note}\n")
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


def load(arguments: Sequence[str]) -> None:
    """Import what the command line needs for these, up to the command's own function."""
    for listed in _named(arguments):
        listed.load()


def _named(arguments: Sequence[str]) -> list[Listed]:
    """The command that is asked for is one of these; the others are words that are not for us."""
    return [listed for listed in COMMANDS if listed.name in arguments]


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


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from holdfast.proxy.process.build import description  # it looks into what is installed

        parser._print_message(f"holdfast {description()}\n", sys.stdout)
        parser.exit()


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="holdfast",
        description="A front proxy and load balancer for realtime backends: clients stay connected while nodes die.",
        epilog="`holdfast COMMAND --help` tells more about a command. Exit status: 0; 1 for a failure; 2 for what "
        "has to be written otherwise, options or configuration; 130 after Ctrl-C where that is no way to end.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    named = _named(arguments)
    for listed in COMMANDS:
        subparser = subparsers.add_parser(listed.name, help=listed.help)
        if listed in named:
            command = listed.load()
            subparser.description = f"{listed.help[0].upper()}{listed.help[1:]}. {command.description}".strip()
            subparser.set_defaults(run=command.run, survives=command.survives)
            command.add_arguments(subparser)
    return parser
