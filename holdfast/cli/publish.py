"""holdfast publish: messages to clients from a shell, a cron job, a pipe."""

import argparse
import os
import sys
from collections.abc import Iterator

from holdfast.cli.command import Command, add_admin_arguments, add_json_argument
from holdfast.cli.durations import duration
from holdfast.console.output import complain, say_done
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.publisher.requests import Message, PublishError, id_of
from holdfast.publisher.threads import Publisher

MAX_LINES = 500  # in one request, half of what it may have
MAX_BYTES = 256 << 10  # likewise; in JSON each may become six
LONGEST_LINE = 128 << 10
READ_BYTES = 64 << 10


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="CHANNEL [TEXT|-]",
        nargs="*",
        help="the channel, and the text; with -, or without a text, each line of stdin is a message, but for blank "
        "ones. With --client or --everybody, the text alone",
    )
    parser.add_argument("--client", metavar="ID", action="append", default=[], help="to this client; can be repeated")
    parser.add_argument("--everybody", action="store_true", help="to every client of all proxies")
    parser.add_argument(
        "--timeout", type=duration, default=10.0, help="how long it is tried for, as 500ms, 10s, 2m (default: 10s)"
    )
    add_admin_arguments(parser)
    add_json_argument(parser)


def _run(arguments: argparse.Namespace) -> int:
    message, text = _read(arguments)
    count = 0
    try:
        with Publisher(arguments.admin, arguments.token, timeout=arguments.timeout) as publisher:
            for texts in [[text]] if text != "-" else _lines():
                count += publisher.publish_many([Message(**{**message, "payload": each}) for each in texts])
    except PublishError as error:
        if count:
            complain(f"{count} messages were sent before")
        if error.status == 401 and not arguments.token:
            raise HoldfastError(
                f"{arguments.admin} wants its admin.token, or one that may publish: HOLDFAST_ADMIN_TOKEN or --token"
            ) from error
        raise HoldfastError(f"{error} (status {error.status})" if error.status else str(error)) from error
    say_done(f"{count} message{'' if count == 1 else 's'} sent", {"messages": count}, json=arguments.json)
    return 0


def _read(arguments: argparse.Namespace) -> tuple[Message, str]:
    """To whom, and the text. Raises ConfigError."""
    words = list(arguments.words)
    try:
        for word in words:
            word.encode()
        for client in arguments.client:
            id_of(client)
    except UnicodeEncodeError as error:  # bytes of the command line, as Python shows them
        raise ConfigError("expected a channel and a text in UTF-8") from error
    except ValueError as error:
        raise ConfigError(f"--client: {error}") from error
    message = Message(payload="", clients=arguments.client, everybody=arguments.everybody)
    if arguments.everybody and arguments.client:
        raise ConfigError("expected --client or --everybody, got both")
    if arguments.everybody or arguments.client:
        if len(words) > 1:
            raise ConfigError(f"with --client or --everybody, expected the text alone, got {len(words)} words")
    elif not words:
        raise ConfigError("expected a CHANNEL, --client ID or --everybody")
    else:
        message["channels"] = [words.pop(0)]
    if len(words) > 1:
        raise ConfigError(f"expected one text (in quotes, if it has spaces), got {len(words)}")
    return message, words[0] if words else "-"


def _lines() -> Iterator[list[str]]:
    """Lines of stdin that are not blank, as they come: all that are there at once."""
    if sys.stdin is None:  # it is closed, and its number may be another file's
        raise HoldfastError("expected a text, or lines on stdin, which is closed")
    rest = b""
    while data := _read_some():
        *lines, rest = (rest + data).split(b"\n")
        yield from _batches(lines)
        if len(rest) > LONGEST_LINE:
            raise HoldfastError(f"expected lines of at most {LONGEST_LINE} bytes on stdin")
    if rest:
        yield from _batches([rest])


def _read_some() -> bytes:
    try:
        return os.read(0, READ_BYTES)
    except OSError as error:
        raise HoldfastError(f"stdin can't be read: {error.strerror}") from error


def _batches(lines: list[bytes]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise HoldfastError("expected text in UTF-8 on stdin") from error
        if batch and (len(batch) == MAX_LINES or size + len(line) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        if text.strip():
            batch.append(text)
            size += len(line)
    if batch:
        yield batch


COMMAND = Command(
    _add_arguments,
    _run,
    "To a channel, to clients by their ids, or to everybody, from outside: a node does it. It is tried again, and done "
    "once, while there is no node or the proxy is starting anew. Exit status 0: all is sent.",
)
