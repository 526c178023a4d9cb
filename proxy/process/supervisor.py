"""`holdfast serve --workers N`: N proxies, each a process, that share the client ports and are one cluster.

Owns the processes: starts them, starts anew whoever dies, ends all of them on a signal. Serves nothing itself, and
holds no connection but those that no worker has accepted yet. Workers are proxies like any other (workers says what
they are told); only this is special about them: the kernel gives each new client to one of them (SO_REUSEPORT), whose
sockets are held here, and they die with this process.

Until all of them serve, a death is a failure of the start and ends the others. After that a death is made good.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import structlog
import trio

from holdfast.proxy.config import Config
from holdfast.proxy.process import child, hangup
from holdfast.proxy.process.bound import Bound
from holdfast.proxy.process.workers import SOCKETS, VARIABLE, Ports, WorkerLife, is_store_in, settings_of

log = structlog.get_logger("holdfast.supervisor")

FIRST_DELAY = 0.1  # until a dead worker is started anew; doubles while it goes on dying
LONGEST_DELAY = 5.0
GOOD_LIFE = 10.0  # one that lived so long has not died of its start
POLL_INTERVAL = 0.02  # of the ready file, while a worker starts
LAST_PATIENCE = 2.0  # between the second signal, which ends workers at once, and SIGKILL

Announce = Callable[[Mapping[int, Bound]], None]


class Worker:
    """One of them, through all its lives. bound: where it is, or last was; None until it has served once."""

    def __init__(self, number: int, folder: Path, *, has_own_store: bool) -> None:
        self.life = WorkerLife(number, has_own_store=has_own_store)
        self.ready_file = folder / f"worker-{number}.json"
        self.bound: Bound | None = None
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str], ports: Ports) -> subprocess.Popen[bytes]:
        # Who tidies up temporary files may have removed the folder: a store that was emptied, as members see it.
        self.ready_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.ready_file.unlink(missing_ok=True)
        sets = [item for one in settings_of(ports.config, self.life.number, self.bound) for item in ("--set", one)]
        with hangup.held():
            self.popen = subprocess.Popen(
                child.command(["serve", *arguments, *sets, "--ready-file", str(self.ready_file)]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # we say where all of them are
                env={**os.environ, VARIABLE: str(self.life), SOCKETS: str(ports)},
                pass_fds=ports.descriptors,
                process_group=0,  # Ctrl-C on a terminal reaches only us
            )
        log.info("worker_started", worker=self.life.number, pid=self.popen.pid, restarts=self.life.restarts)
        return self.popen

    def signal(self, number: signal.Signals) -> None:
        if self.popen is not None:
            self.popen.send_signal(number)  # does nothing to one that has ended


class Supervisor:
    """workers: how many. arguments: of `holdfast serve`, for each. config: what they say. folder: for this run only."""

    _ports: Ports

    def __init__(self, workers: int, arguments: Sequence[str], config: Config, folder: Path) -> None:
        self._arguments = arguments
        self._config = config
        has_own_store = is_store_in(folder, config)
        self._workers = [Worker(number, folder, has_own_store=has_own_store) for number in range(workers)]
        self._starting = set(range(workers))  # those that have not served yet
        self._ending = trio.Event()
        self._status = 0

    async def run(self, announce: Announce) -> int:
        """Run them until SIGTERM or SIGINT has ended them. Returns the exit status.

        announce: called once, with what each pid has bound, in the workers' order. Raises OSError if a client port
        can't be had.
        """
        try:
            with closing(Ports(self._config, len(self._workers))) as self._ports:
                await self._run(announce)
        finally:
            self._signal(signal.SIGKILL)
        log.info("stopped")
        return self._status

    async def _run(self, announce: Announce) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                async with trio.open_nursery() as keeping:
                    for worker in self._workers:
                        keeping.start_soon(self._keep, worker, announce)
                nursery.cancel_scope.cancel(reason="all workers have ended")

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        """Task: the first signal is passed on, the second one too, and then there is an end."""
        await anext(signals)
        self._end()
        await anext(signals)
        log.warning("stopping_at_once")
        self._signal(signal.SIGTERM)
        with trio.move_on_after(LAST_PATIENCE):
            await anext(signals)
        self._signal(signal.SIGKILL)

    def _end(self) -> None:
        self._ending.set()
        self._ports.close()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.signal(number)

    async def _keep(self, worker: Worker, announce: Announce) -> None:
        """Task: a worker runs until all are to end."""
        delay = FIRST_DELAY
        while not self._ending.is_set():
            began = trio.current_time()
            popen = worker.start(self._arguments, self._ports)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_ready, worker, announce)
                status = await child.wait(popen)
                nursery.cancel_scope.cancel(reason="ended")
            if self._ending.is_set():
                return
            if self._starting:
                log.error("worker_failed", worker=worker.life.number, status=status)
                self._status = status if status > 0 else 1
                self._end()
                return
            if trio.current_time() - began >= GOOD_LIFE:
                delay = FIRST_DELAY
            log.warning("worker_ended", worker=worker.life.number, pid=popen.pid, status=status, restart_in=delay)
            worker.life = worker.life.after(status)
            with trio.move_on_after(delay):
                await self._ending.wait()
            delay = min(2 * delay, LONGEST_DELAY)

    async def _await_ready(self, worker: Worker, announce: Announce) -> None:
        """Task: until the worker serves."""
        while not worker.ready_file.exists():  # noqa: ASYNC110 - a file has no event; and it comes whole, by rename
            await trio.sleep(POLL_INTERVAL)
        worker.bound = msgspec.json.decode(worker.ready_file.read_bytes(), type=Bound)
        if self._starting:
            self._starting.discard(worker.life.number)
            if not self._starting:
                announce({w.popen.pid: w.bound for w in self._workers if w.popen is not None and w.bound is not None})
