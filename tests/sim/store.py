"""The coordination store of the simulator: one for the world, and what each proxy asks it through.

It can be cut off, slow, forgetful, empty; its answers can be lost; a write may come late, a read may be of the past.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import trio

from holdfast.balancer.cluster.record import from_store
from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from tests.sim.kernel import EPSILON
from tests.sim.process import Process

if TYPE_CHECKING:
    from tests.sim.world import World

STORE = "store"
TIMEOUT = 2.0
SLOWEST = 0.02  # one way


class Store:
    """answers_lost: the share of operations that take place and are not answered. lag: of what is read, in seconds.

    late: the share of operations that arrive some seconds late, as to a store that was frozen.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.record = MasterRecord()
        self.former = MasterRecord()
        self.cards: dict[str, tuple[bytes, float]] = {}
        self.asked: dict[str, float] = {}  # who: when
        self.answers_lost = 0.0
        self.late = 0.0
        self.lag = 0.0
        self.has_forgotten = False
        self._past: list[tuple[float, MasterRecord]] = [(0.0, self.record)]

    # --- operations: what takes place at the store --------------------------------------------------------------------

    def put_card(self, proxy: str, card: bytes, ttl: float) -> None:
        self.cards[proxy] = (card, self._world.time + ttl)

    def refresh_card(self, proxy: str, ttl: float) -> bool:
        card = self.read_cards().get(proxy)
        if card is None:
            return False
        self.put_card(proxy, card, ttl)
        return True

    def drop_card(self, proxy: str) -> None:
        self.cards.pop(proxy, None)

    def read_cards(self) -> dict[str, bytes]:
        return {proxy: card for proxy, (card, end) in self.cards.items() if end > self._world.time}

    def read(self) -> MasterRecord:
        at = self._world.time - self.lag
        return next((record for since, record in reversed(self._past) if since <= at), self.record)

    def swap(self, who: str, expected: int, record: MasterRecord) -> MasterRecord:
        if self.record.epoch == expected:
            self.former = self.record
            self._become(record)
            self._world.note("store", who, record)
            self._world.checks.written(from_store(record))
        return self.record

    def is_read_soon(self, proxies: Iterable[Process]) -> bool:
        """Whether any of these is asking it, or may within the next moments: it does so three times while a card
        lasts."""
        interval = self._world.times.card_ttl / 3
        since = (self._world.time - self.asked.get(proxy.id, 0.0) for proxy in proxies)
        return not all(2 * SLOWEST < seconds < interval / 2 for seconds in since)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """The last write is gone, as after a failover of Redis."""
        self._become(self.former)
        self.has_forgotten = True
        self._world.note("store forgets")

    def empty(self) -> None:
        """All is gone, as after FLUSHALL."""
        self.former = MasterRecord()
        self._become(self.former)
        self.cards.clear()
        self.has_forgotten = True
        self._world.note("store is empty")

    def _become(self, record: MasterRecord) -> None:
        self.record = record
        self._past.append((self._world.time, record))

    def delay(self) -> float:
        random = self._world.random
        if self.late and random.random() < self.late:
            return random.uniform(0.5, 5.0)
        return random.uniform(0.001, SLOWEST)


class SimCoordinator:
    """A Coordinator: one process's way to the store."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._store = process.world.store

    async def put_card(self, proxy: str, card: bytes, ttl: float) -> None:
        await self._ask(lambda: self._store.put_card(proxy, card, ttl))

    async def refresh_card(self, proxy: str, ttl: float) -> bool:
        return bool(await self._ask(lambda: self._store.refresh_card(proxy, ttl)))

    async def drop_card(self, proxy: str) -> None:
        await self._ask(lambda: self._store.drop_card(proxy))

    async def cards(self) -> dict[str, bytes]:
        cards: dict[str, bytes] = await self._ask(self._store.read_cards)
        return cards

    async def master(self) -> MasterRecord:
        record: MasterRecord = await self._ask(self._store.read)
        return record

    async def swap_master(self, expected: int, record: MasterRecord) -> MasterRecord:
        if record.epoch <= expected:
            raise ValueError(f"expected an epoch greater than {expected}, got {record.epoch}")
        stored: MasterRecord = await self._ask(lambda: self._store.swap(self._process.id, expected, record))
        return stored

    async def aclose(self) -> None:
        pass

    async def _ask(self, operation: Callable[[], Any]) -> Any:
        world, process = self._world, self._process
        who = process.id
        self._store.asked[who] = world.time
        task = trio.lowlevel.current_task()
        answers: list[Any] = []
        is_over = False

        def arrive() -> None:
            if world.is_cut(who, STORE):
                return
            answer = operation()
            if not world.is_cut(STORE, who) and world.random.random() >= self._store.answers_lost:
                world.later(self._store.delay(), go_on, answer)

        def go_on(*answer: Any) -> None:
            nonlocal is_over
            if not is_over and process.is_alive:
                is_over = True
                answers.extend(answer)
                process.resume(task)

        def time_out() -> None:
            if not is_over:  # a frozen process notices when it thaws
                process.when_awake(go_on)

        def abort(_: object) -> trio.lowlevel.Abort:
            nonlocal is_over
            is_over = True
            return trio.lowlevel.Abort.SUCCEEDED

        world.later(self._store.delay(), arrive)
        world.later(TIMEOUT / process.clock.rate + EPSILON, time_out)
        await trio.lowlevel.wait_task_rescheduled(abort)
        if not answers:
            raise CoordinationError("the store did not answer")
        return answers[0]
