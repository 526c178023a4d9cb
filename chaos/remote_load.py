"""The built-in clients in their process, as seen from here: starts it, tells it when, hears what came of it."""

from contextlib import suppress

import msgspec
import trio

from holdfast.chaos.failover import Fault
from holdfast.chaos.lines import Lines
from holdfast.chaos.load import Progress, Settings
from holdfast.chaos.load_worker import Connected, Failed, Finish, Finished, Said, Start
from holdfast.chaos.processes import Process, Processes
from holdfast.protocols.errors import HoldfastError

_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


class RemoteLoad:
    """progress: the latest, None before the first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Process | None = None
        self._connected = trio.Event()
        self._has_finished = trio.Event()
        self._finished: Finished | None = None
        self.progress: Progress | None = None

    def begin(self, processes: Processes) -> Process:
        settings = msgspec.json.encode(self._settings).decode()
        self._process = processes.start("clients", ["load", settings], pipes=True)
        return self._process

    async def run(self) -> None:
        """Task: hear. Raises HoldfastError when the clients can't begin, or their process ends before they have."""
        process = self._process
        assert process is not None
        assert process.popen.stdout is not None
        lines = Lines(process.popen.stdout.fileno())
        while (line := await lines.next()) is not None:
            said = _said.decode(line)
            if isinstance(said, Progress):
                self.progress = said
            elif isinstance(said, Connected):
                self._connected.set()
            elif isinstance(said, Failed):
                raise HoldfastError(said.message)
            else:
                self._finished = said
                self._has_finished.set()
                return
        raise HoldfastError(f"the clients' process ended: status {await process.wait()}\n{process.log_tail()}".rstrip())

    async def wait_connected(self) -> None:
        await self._connected.wait()

    def start(self) -> None:
        self._tell(Start())

    async def finish(self, patience: float, faults: list[Fault]) -> Finished:
        """Send no more; what came of all, when it is complete or `patience` is over. The clients stay connected."""
        self._tell(Finish(patience, faults))
        await self._has_finished.wait()
        assert self._finished is not None
        return self._finished

    def end(self) -> None:
        """Let the process end."""
        assert self._process is not None
        pipe = self._process.popen.stdin
        assert pipe is not None
        with suppress(OSError):  # it has ended; what was not written to it is of no use
            pipe.close()

    def _tell(self, command: Start | Finish) -> None:
        assert self._process is not None
        pipe = self._process.popen.stdin
        assert pipe is not None
        try:
            pipe.write(msgspec.json.encode(command) + b"\n")
            pipe.flush()
        except OSError:
            return  # it has ended; `run` says so
