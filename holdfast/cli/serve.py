"""holdfast serve: run the proxy, or several as workers, until a signal ends it."""

import argparse
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from holdfast.cli.command import MAX_WORKERS, Command, add_config_arguments, count_of_workers
from holdfast.console.output import announce, complain
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.config import Config, load
from holdfast.proxy.process import hangup, stderr
from holdfast.proxy.process.bound import Bound
from holdfast.proxy.process.workers import WorkerLife, store_in


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--ready-file", metavar="PATH", type=Path, help="write the bound addresses there, as JSON, once it serves"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=count_of_workers,
        default=1,
        help="so many proxies, each a process, as a cluster that shares the client ports; the dead are restarted "
        f"(at most {MAX_WORKERS})",
    )


def _run(arguments: argparse.Namespace) -> int:
    if arguments.workers > 1:
        with _temporary_folder() as folder:
            return _serve_by_workers(arguments, Path(folder))
    config = load(arguments.config, os.environ, arguments.sets).config
    life = WorkerLife.of(os.environ)

    from holdfast.proxy import serving  # after the configuration: a bad one is refused at once
    from holdfast.proxy.process import logs

    stderr.install()
    logs.configure(config.log, None if life.number < 0 else life.number)
    hangup.survive()
    announcement = _Announcement(config, arguments.ready_file)

    async def serve() -> int:
        await serving.serve(config, ready=announcement.make if life.number < 0 else announcement.make_whole)
        return 0

    return _until_the_end(serve, announcement)


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """For one run of workers: where each says where it is, and their store if they have no other."""
    try:
        return tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True)
    except OSError as error:
        raise HoldfastError(f"workers need a folder for temporary files, see TMPDIR: {error.strerror}") from error


def _serve_by_workers(arguments: argparse.Namespace, folder: Path) -> int:
    sets = list(arguments.sets)
    if load(arguments.config, os.environ, sets).config.store.kind == "memory":
        sets += store_in(folder)
    config = load(arguments.config, os.environ, sets).config  # again: a cluster has rules of its own

    from holdfast.proxy.process import logs
    from holdfast.proxy.process.supervisor import Supervisor

    stderr.install()
    logs.configure(config.log)
    hangup.survive()
    announcement = _Announcement(config, arguments.ready_file)
    own = [item for one in sets for item in ("--set", one)]
    if arguments.config is not None:
        own += ["--config", str(arguments.config)]
    supervisor = Supervisor(arguments.workers, own, config, folder)
    return _until_the_end(partial(supervisor.run, announcement.make_for_workers), announcement)


def _until_the_end(serve: Callable[[], Awaitable[int]], announcement: "_Announcement") -> int:
    import trio

    try:
        announcement.withdraw()
        return trio.run(serve)
    except (OSError, HoldfastError, BaseExceptionGroup) as error:
        found = list(leaves(error))
        if all(isinstance(leaf, KeyboardInterrupt) for leaf in found):
            raise KeyboardInterrupt from error
        # Before it serves, the operator can put it right (an address in use): one line. Later it is a fault of ours,
        # and needs the traceback.
        if announcement.made or len(found) != 1:
            raise
        if isinstance(found[0], HoldfastError):
            raise found[0] from error
        if not isinstance(found[0], OSError):
            raise
        complain(_line(found[0]))
        return 1


class _Announcement:
    """Tells where the proxy is bound: the ready file, written whole by rename, then lines on stdout."""

    def __init__(self, config: Config, file: Path | None) -> None:
        self._secure = "s" if config.client.tls_certificate_file else ""
        self._file = file
        self.made = False

    def withdraw(self) -> None:
        """Who waits for the file must not find that of an earlier run."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def make(self, bound: Bound) -> None:
        self._write(_place(bound, os.getpid()))
        self._say([bound])

    def make_whole(self, bound: Bound) -> None:
        """A worker's, for who supervises it."""
        self._write(bound)
        self._say([bound])

    def make_for_workers(self, workers: Mapping[int, Bound]) -> None:
        """workers: by pid."""
        places = [_place(bound, pid) for pid, bound in workers.items()]
        self._write({**places[0], "pid": os.getpid(), "workers": places})
        self._say(list(workers.values()))

    def _say(self, bound: Sequence[Bound]) -> None:
        lines = [f"client ws{self._secure}://{address}" for address in bound[0].client]
        for name, _, address in (further.partition("://") for further in bound[0].protocols):
            lines.append(f"client {name}{self._secure}://{address}")
        lines += [f"node {endpoint}" for one in bound for endpoint in one.node]
        lines += [f"admin http://{one.admin}" for one in bound]
        self.made = True
        announce(lines)  # the log's `serving` says the same

    def _write(self, content: object) -> None:
        file = self._file
        if file is None:
            return
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            temporary.write_bytes(msgspec.json.encode(content) + b"\n")
            temporary.rename(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise HoldfastError(f"--ready-file {file}: {error.strerror}") from error


def _place(bound: Bound, pid: int) -> dict[str, object]:
    """Who waits for the file looks for one address of each kind."""
    place: dict[str, object] = {"client": bound.client[0], "node": bound.node[0], "admin": bound.admin, "pid": pid}
    return {**place, "protocols": bound.protocols} if bound.protocols else place


def leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _line(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


COMMAND = Command(
    _add_arguments,
    _run,
    "SIGTERM drains it, a second one stops it at once; SIGHUP is a line in the log. To clients all workers are one; "
    "`holdfast status` shows each.",
    survives=True,
)
