"""The store of a cluster under test: a redis-server of our own, or a file."""

import shutil
import signal
import socket
from pathlib import Path

import trio

from holdfast.chaos.processes import Process, Processes
from holdfast.protocols.errors import ConfigError, HoldfastError

KINDS = ("sqlite", "redis")
START_PATIENCE = 10.0
POLL_INTERVAL = 0.02


def settings_of_file(directory: Path) -> list[str]:
    """`section.key=value` for the proxies whose store is a file."""
    return ["store.kind=sqlite", f"store.path={directory / 'store'}"]


class RedisServer:
    """One process after another, all on the same port. It keeps nothing on a disk: whoever is started knows nothing."""

    def __init__(self, processes: Processes) -> None:
        if shutil.which("redis-server") is None:
            raise ConfigError("--store redis: there is no redis-server here")
        self._processes = processes
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.process: Process | None = None

    @property
    def settings(self) -> list[str]:
        """`section.key=value` for the proxies."""
        return ["store.kind=redis", f"store.urls=redis://127.0.0.1:{self._port}"]

    async def start(self) -> None:
        """Returns when it answers. Raises HoldfastError."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        log = self._processes.directory / "redis.txt"
        self.process = process = self._processes.start_program("redis", [*command, "--logfile", str(log)])
        with trio.move_on_after(START_PATIENCE):
            while process.is_running:
                if await self._answers():
                    return
                await trio.sleep(POLL_INTERVAL)
        said = log.read_text(errors="replace") if log.exists() else process.log_tail()
        raise HoldfastError(f"redis-server did not start\n{said}".rstrip())

    async def _answers(self) -> bool:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                await stream.send_all(b"PING\r\n")
                return (await stream.receive_some()).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> Process:
        assert self.process is not None
        self.process.signal(signal.SIGKILL)
        return self.process
