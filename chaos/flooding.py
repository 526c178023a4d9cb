"""The flood as the trial sees it: gives the orders, hears what nodes have published and what listeners got."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import trio

from holdfast.chaos.failover import Fault, Percentiles
from holdfast.chaos.flood import FloodFigures, Order, Published, give
from holdfast.chaos.lines import Lines
from holdfast.chaos.listeners import Finish, Listened, Listening, Settings
from holdfast.chaos.processes import Process, Processes
from holdfast.chaos.sessions import moves
from holdfast.protocols.errors import HoldfastError

BURSTS = (500, 2000)  # messages; the last one is measured
MEASURE_PATIENCE = 60.0
CATCH_UP_PATIENCE = 300.0  # for what is under way when the flood has ended
JOIN_PATIENCE = 30.0

_said: msgspec.json.Decoder[Listening | Listened] = msgspec.json.Decoder(Listening | Listened)
_published: msgspec.json.Decoder[Published] = msgspec.json.Decoder(Published)


class Flooding:
    """factor: how much more than can be delivered is published all the while; 0: there are bursts only."""

    def __init__(self, processes: Processes, settings: Settings, factor: float, tell: Callable[[str], None]) -> None:
        self._processes = processes
        self._settings = settings
        self._factor = factor
        self._tell = tell
        self._order = Order(0)
        self._published: dict[int, Published] = {}  # by pid
        self._heard = Listening(0, 0.0, 0)
        self._listened: Listened | None = None
        self._changed = trio.Event()
        self._capacity = 0.0
        self._before = Published(0, 0)  # of all, when it began
        self._begun = self._ended = 0.0
        self._process: Process | None = None
        self.order_file = processes.directory / "flood.json"

    # --- the listeners' process, and the nodes ------------------------------------------------------------------

    def published(self, line: str) -> None:
        """A node says what it has published so far."""
        said = _published.decode(line)
        self._published[said.pid] = said

    async def run(self) -> None:
        """Task: the listeners. Raises HoldfastError when their process ends."""
        settings = msgspec.json.encode(self._settings).decode()
        self._process = process = self._processes.start("listeners", ["listen", settings], pipes=True)
        assert process.popen.stdout is not None
        lines = Lines(process.popen.stdout.fileno())
        while (line := await lines.next()) is not None:
            said = _said.decode(line)
            if isinstance(said, Listened):
                self._listened = said
            else:
                self._heard = said
            self._changed.set()
            self._changed = trio.Event()
            if self._listened is not None:
                return
        raise HoldfastError(f"the listeners' process ended\n{process.log_tail()}".rstrip())

    async def _until(self, condition: Callable[[], bool], patience: float) -> bool:
        with trio.move_on_after(patience):
            while not condition():
                await self._changed.wait()
            return True
        return False

    async def wait_joined(self) -> None:
        """Raises HoldfastError."""
        wanted = self._settings.listeners + self._settings.slow
        if not await self._until(lambda: self._heard.joined == wanted, JOIN_PATIENCE):
            raise HoldfastError(f"{self._heard.joined} of {wanted} listeners could join within {JOIN_PATIENCE:g} s")

    # --- orders -------------------------------------------------------------------------------------------------

    def _give(self, rate: float = 0.0, burst: int = 0, pids: Sequence[int] = ()) -> None:
        self._order = Order(self._order.number + 1, rate, burst, list(pids))
        give(self.order_file, self._order)

    def burst(self, messages: int, pid: int) -> None:
        """A node publishes so many at once; the others go on as they do. For floods without a rate."""
        self._give(burst=messages, pids=[pid])

    async def measure(self, pid: int) -> None:
        """How much can be delivered: one node's bursts, each taken by all listeners. Raises HoldfastError."""
        for messages in BURSTS:
            wanted = self._heard.delivered + messages * self._settings.listeners
            begun = time.monotonic()
            self.burst(messages, pid)
            if not await self._until(partial(self._have_come, wanted), MEASURE_PATIENCE):
                raise HoldfastError(f"{self._heard.delivered} of {wanted} messages came within {MEASURE_PATIENCE:g} s")
            self._capacity = messages * self._settings.listeners / (self._heard.at - begun)
        self._tell(f"{self._capacity:,.0f} deliveries per second can be made")

    def _have_come(self, messages: int) -> bool:
        return self._heard.delivered >= messages

    def start(self, nodes: int) -> None:
        """By so many nodes."""
        self._begun = time.monotonic()
        self._before = self._total()
        if self._factor:
            self._give(rate=self._factor * self._capacity / self._settings.listeners / nodes)

    def stop(self) -> None:
        self._ended = time.monotonic()
        if self._factor:
            self._give()

    def _total(self) -> Published:
        every = self._published.values()
        return Published(0, 0, 0.0, sum(one.attempted for one in every), sum(one.published for one in every))

    # --- the end ------------------------------------------------------------------------------------------------

    async def finish(
        self, alive: Sequence[int], faults: Sequence[Fault], nodes_lost: int, *, is_calm: bool
    ) -> FloodFigures:
        """What came of it, when all that nodes have published has come.

        alive: pids. is_calm: nothing was done to them. Raises HoldfastError.
        """
        process, total = self._process, self._total()
        assert process is not None
        assert process.popen.stdin is not None
        ours = [said for pid, said in self._published.items() if pid in alive]
        process.popen.stdin.write(msgspec.json.encode(Finish(ours)) + b"\n")
        process.popen.stdin.flush()
        await self._until(lambda: self._listened is not None, CATCH_UP_PATIENCE)
        listened = self._listened
        if listened is None:
            raise HoldfastError("the listeners do not say what they have heard")
        return FloodFigures(
            listeners=self._settings.listeners,
            slow=self._settings.slow,
            factor=self._factor,
            capacity=round(self._capacity),
            attempted=total.attempted - self._before.attempted,
            published=total.published - self._before.published,
            delivered=listened.delivered,
            missing=listened.missing,
            doubled=listened.doubled,
            closed=moves(listened.sessions, faults).dropped,
            slow_closed=listened.slow_closed,
            nodes_lost=nodes_lost,
            is_calm=is_calm,
            seconds=round(self._ended - self._begun, 1),
            latency=Percentiles(listened.delivered, listened.p50, listened.p99, listened.longest),
        )

    def end(self) -> None:
        assert self._process is not None
        assert self._process.popen.stdin is not None
        self._process.popen.stdin.close()
