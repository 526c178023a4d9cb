"""What a command of the command line is, and the options that several of them share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# Each is an interpreter of 50 MB that wants a core, holds the client sockets of all, and talks with every other one: a
# slip of the hand (1000) would take a machine down.
MAX_WORKERS = 64


class Command(NamedTuple):
    """description: what its own --help says beyond the line of the list.

    run returns the exit status: 0, 1 for a failure, 2 for a bad usage or configuration. survives: SIGHUP, from its
    `hangup.survive` on; until then the signal waits. All others end by it.
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    description: str = ""
    survives: bool = False


class Listed(NamedTuple):
    """A command in the list of all. help: as `holdfast --help` shows it. load: imports the command's module, which is
    done only when the command is named on the command line."""

    name: str
    help: str
    load: Callable[[], Command]


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the configuration is from: `config` and `sets`."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with the configuration")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        dest="sets",
        action="append",
        default=[],
        help="set one value; stronger than the file and the environment (HOLDFAST__SECTION__KEY); can be repeated",
    )


def add_admin_arguments(parser: argparse.ArgumentParser) -> None:
    """Which proxy to talk to: `admin` and `token`."""
    parser.add_argument(
        "--admin",
        metavar="HOST:PORT",
        default=os.environ.get("HOLDFAST_ADMIN") or "http://127.0.0.1:7513",
        help="admin server of the proxy, as the ready file says it, or its URL (default: HOLDFAST_ADMIN of the "
        "environment, http://127.0.0.1:7513 without)",
    )
    _add_token_argument(parser)


def add_perhaps_admin_arguments(parser: argparse.ArgumentParser, tells: str) -> None:
    """A running proxy in place of a configuration: `admin`, None if it is not given, and `token`."""
    parser.add_argument(
        "--admin", metavar="HOST:PORT", help=f"ask the proxy that runs there, by its own configuration{tells}"
    )
    _add_token_argument(parser)


def count(text: str) -> int:
    """For argparse: so many of something."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)


def count_of_workers(text: str) -> int:
    """For argparse."""
    workers = count(text)
    if workers > MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_WORKERS}, got {text}")
    return workers


def _add_token_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token",
        default=os.environ.get("HOLDFAST_ADMIN_TOKEN", ""),
        help="its admin.token; better in the environment, as HOLDFAST_ADMIN_TOKEN, where no process list shows it",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
