"""holdfast serve: run the proxy until a signal ends it."""

import argparse
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from protocols.errors import HoldfastError
from proxy.cli.command import Command, add_config_arguments
from proxy.cli.output import complain, flush, say
from proxy.config import Config, load

if TYPE_CHECKING:
    from proxy.app import Bound


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--ready-file", metavar="PATH", type=Path, help="write the bound addresses there, as JSON, once it serves"
    )


def _run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, os.environ, arguments.sets).config

    import trio  # after the configuration: a bad one is refused at once

    from proxy import app, logs

    logs.configure(config.log)
    announcement = _Announcement(config, arguments.ready_file)
    try:
        announcement.withdraw()
        trio.run(partial(app.serve, config, ready=announcement.make))
    except (OSError, HoldfastError, BaseExceptionGroup) as error:
        leaves = list(_leaves(error))
        if all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            raise KeyboardInterrupt from error
        # Before it serves, the operator can put it right (an address in use): one line. Later it is a fault of ours,
        # and needs the traceback.
        if announcement.made or len(leaves) != 1:
            raise
        if isinstance(leaves[0], HoldfastError):
            raise leaves[0] from error
        if not isinstance(leaves[0], OSError):
            raise
        complain(_line(leaves[0]))
        return 1
    return 0


class _Announcement:
    """Tells where the proxy is bound: the ready file, written whole by rename, then lines on stdout."""

    def __init__(self, config: Config, file: Path | None) -> None:
        self._scheme = "wss" if config.client.tls_certificate_file else "ws"
        self._file = file
        self.made = False

    def withdraw(self) -> None:
        """Who waits for the file must not find that of an earlier run."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def make(self, bound: "Bound") -> None:
        if self._file is not None:
            content = {"client": bound.client[0], "node": bound.node[0], "admin": bound.admin, "pid": os.getpid()}
            self._write(self._file, msgspec.json.encode(content) + b"\n")
        for address in bound.client:
            say(f"client {self._scheme}://{address}")
        for endpoint in bound.node:
            say(f"node {endpoint}")
        say(f"admin http://{bound.admin}")
        flush()
        self.made = True

    def _write(self, file: Path, content: bytes) -> None:
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            temporary.write_bytes(content)
            temporary.rename(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise HoldfastError(f"--ready-file {file}: {error.strerror}") from error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _line(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


COMMAND = Command("serve", "run the proxy", _add_arguments, _run, "SIGTERM drains it, a second one stops it at once.")
