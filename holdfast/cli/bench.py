"""holdfast bench: load on any WebSocket echo, every reply compared."""

import argparse
from typing import TYPE_CHECKING

from holdfast.cli.command import Command, add_json_argument
from holdfast.cli.durations import duration
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config.values import parse_size

if TYPE_CHECKING:
    from holdfast.chaos.echo_load import Settings

LARGEST_BYTES = 64 << 20  # of a message


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="ws://HOST:PORT/PATH", help="what sends each message back as it came")
    parser.add_argument("--connections", type=_count, default=100, metavar="N", help="WebSockets (default: 100)")
    parser.add_argument(
        "--size", type=_size, default=160, metavar="BYTES", help="of a message, such as 160 or 64KiB (default: 160)"
    )
    parser.add_argument(
        "--in-flight", type=_count, default=1, metavar="N", help="messages at once on each connection (default: 1)"
    )
    parser.add_argument(
        "--for", dest="seconds", type=duration, default=10.0, metavar="TIME", help="how long (default: 10s)"
    )
    add_json_argument(parser)


def _run(arguments: argparse.Namespace) -> int:
    from holdfast.chaos.bench import run

    return run(_settings(arguments), arguments.seconds, as_json=arguments.json)


def _settings(arguments: argparse.Namespace) -> "Settings":
    from websockets.exceptions import InvalidURI
    from websockets.uri import parse_uri

    from holdfast.chaos.echo_load import Settings
    from holdfast.proxy.open_files import RESERVED, raise_limit

    try:
        uri = parse_uri(arguments.url)
    except (InvalidURI, ValueError) as error:
        raise ConfigError(f"expected ws://HOST:PORT/PATH: {error}") from error
    if uri.secure or uri.username is not None:
        raise ConfigError("expected ws://HOST:PORT/PATH: this load speaks plain WebSocket, without TLS or passwords")
    fit = raise_limit(arguments.connections + RESERVED) - RESERVED
    if fit < arguments.connections:
        raise ConfigError(f"--connections: the limit of open files (ulimit -n) leaves room for {fit}")
    return Settings(uri.host, uri.port, uri.resource_name, arguments.connections, arguments.size, arguments.in_flight)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)


def _size(text: str) -> int:
    from holdfast.chaos.echo_load import LEAST_BYTES

    size = parse_size(text)
    if size is None or not LEAST_BYTES <= size <= LARGEST_BYTES:
        limits = f"{LEAST_BYTES} (a message numbers itself) to {LARGEST_BYTES}"
        raise argparse.ArgumentTypeError(f"expected bytes, {limits}, got {text}")
    return size


COMMAND = Command(
    _add_arguments,
    _run,
    "Each connection sends a message, waits until it comes back, and sends the next; no two messages are alike. The "
    "target is whatever echoes: a Holdfast proxy with a node that replies what it was asked, or anything else. "
    "Latencies are those of the highest load that so many connections make. This load is one Python process and says "
    "how much CPU it took: at a whole core it is the limit itself, so start several. Ctrl-C ends it with the result so "
    "far. Exit status 1 unless every message came back as it was.",
)
