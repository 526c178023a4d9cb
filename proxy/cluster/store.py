"""What one proxy has with the coordination store: its card, the mutex, the record, and never two operations at once.

Owns when the store is read, and how often a newcomer has tried to join. What is written is the cluster's decision. A
store that can't be reached is one line in the log, however long that lasts; nothing but changes of the cluster waits.
"""

from collections.abc import Callable

import structlog
import trio

from balancer.cluster.actions import Write
from balancer.cluster.cluster import Cluster
from balancer.cluster.record import from_card, from_store, to_card, to_store
from balancer.coordination.base import CoordinationError, Coordinator, MasterRecord
from protocols.peers.frames import Member, Record
from proxy.config import ClusterSettings

log = structlog.get_logger("holdfast.store")

JOIN_INTERVAL = (
    0.2  # between two looks of a newcomer: others have to hear it first, which takes some tenths of a second
)
RETRY_DELAY = 0.25  # after the store has failed


class Attempts:
    """How a newcomer goes about it: with the mutex for a while, then without, so that others may try.

    failed: attempts that came to nothing and count. Those do not in which all members are merely absent: then there
    is nobody to let it in, and what is waited for is the proof of their death.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.failed = 0
        self._settings = settings
        self._ends: float | None = None
        self._begins = float("-inf")

    def is_time(self, now: float) -> bool:
        return now >= self._begins

    def goes_on(self, now: float) -> bool:
        """With the mutex in hand. False: it was long enough."""
        if self._ends is None:
            self._ends = now + self._settings.discover_timeout
        return now < self._ends

    def succeed(self) -> None:
        self._ends = None

    def fail(self, now: float, *, counts: bool) -> None:
        self.failed += counts
        self._ends = None
        self._begins = now + self._settings.join_attempt_interval


class Store:
    """card_ttl: of our card; it is read, and the card refreshed, every third of that. on_answer: is called when the
    cluster has been told what the store has."""

    def __init__(
        self,
        coordinator: Coordinator,
        cluster: Cluster,
        settings: ClusterSettings,
        card_ttl: float,
        on_answer: Callable[[], None],
    ) -> None:
        self.attempts = Attempts(settings)
        self._coordinator = coordinator
        self._cluster = cluster
        self._card_ttl = card_ttl
        self._on_answer = on_answer
        self._turn = trio.Lock()
        self._asked: Write | None = None
        self._wake = trio.Event()
        self._writers = 0
        self._has_card = False
        self._mutex: int | None = None
        self._is_failing = False
        cluster.may_join = False

    def ask(self, write: Write) -> None:
        """To be written as soon as possible, in place of what was asked before and is not written yet."""
        self._asked = write
        self._wake.set()

    async def write(self, record: Record, expected: int) -> Record:
        """Compare and set, and tell the cluster what is there then, which is returned. Raises CoordinationError."""
        self._writers += 1
        try:
            async with self._turn:
                return await self._write(record, expected)
        finally:
            self._writers -= 1

    async def settle(self) -> None:
        """Wait until what is under way is done. What was asked for and is not begun is void."""
        async with self._turn:
            self._asked = None

    async def withdraw(self) -> None:
        """We are out of the record and end: nothing there is ours any more. Raises CoordinationError."""
        async with self._turn:
            await self._unlock()
            await self._coordinator.drop_card(self._cluster.me.proxy)

    async def run(self) -> None:
        """Task: look, write what is asked, and again."""
        while True:
            self._wake = trio.Event()
            write, self._asked = self._asked, None
            try:
                async with self._turn:
                    if write is not None:
                        await self._write(write.record, write.expected)
                    else:
                        await self._look()
                    await self._unlock_if_joined()
            except CoordinationError as error:
                self._failed(error)
                await trio.sleep(RETRY_DELAY)
                continue
            if self._is_failing:
                self._is_failing = False
                log.info("store_is_back")
            self._on_answer()
            with trio.move_on_after(self._interval):
                await self._wake.wait()

    @property
    def _interval(self) -> float:
        interval = self._card_ttl / 3
        return interval if self._cluster.membership.is_member else min(JOIN_INTERVAL, interval)

    async def _write(self, record: Record, expected: int) -> Record:
        asked = trio.current_time()
        stored = _record(await self._coordinator.swap_master(expected, to_store(record)))
        cards = await self._cards()
        self._cluster.stored(stored, cards, asked, trio.current_time())
        return stored

    async def _look(self) -> None:
        asked = trio.current_time()
        membership = self._cluster.membership
        if not membership.is_leaving:
            await self._show_card()
            if not membership.is_member:
                await self._lock()
        stored = _record(await self._coordinator.master())
        cards = await self._cards()
        if self._asked is None and not self._writers:  # else the answer to that is told in a moment
            self._cluster.stored(stored, cards, asked, trio.current_time())

    async def _show_card(self) -> None:
        me = self._cluster.me
        if not self._has_card or not await self._coordinator.refresh_card(me.proxy, self._card_ttl):
            await self._coordinator.put_card(me.proxy, to_card(me), self._card_ttl)
            self._has_card = True

    async def _lock(self) -> None:
        """Take the mutex, or extend its time, for as long as this attempt lasts."""
        now = trio.current_time()
        if not self.attempts.is_time(now):
            return
        self._mutex = await self._coordinator.lock(self._cluster.me.proxy, self._card_ttl)
        if self._mutex is not None and not self.attempts.goes_on(now):
            membership = self._cluster.membership
            heard = membership.heard_now(now)
            is_anybody_there = any(id in membership.cards or id in heard for id in membership.record.ids)
            self.attempts.fail(now, counts=is_anybody_there)
            await self._unlock()
        self._cluster.may_join = self._mutex is not None

    async def _unlock_if_joined(self) -> None:
        if self._mutex is not None and self._cluster.membership.is_member:
            self.attempts.succeed()
            await self._unlock()

    async def _unlock(self) -> None:
        number, self._mutex = self._mutex, None
        self._cluster.may_join = False
        if number is not None:
            await self._coordinator.unlock(number)

    async def _cards(self) -> dict[str, Member]:
        cards: dict[str, Member] = {}
        for proxy, card in (await self._coordinator.cards()).items():
            try:
                cards[proxy] = from_card(card)
            except ValueError as error:
                log.warning("bad_card", proxy=proxy, error=str(error))
        return cards

    def _failed(self, error: CoordinationError) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.warning("store_failed", error=str(error))
        if self._asked is None and not self._writers:
            self._cluster.store_failed()
        else:
            self._cluster.counters.store_errors += 1
        now = trio.current_time()
        if not self._cluster.membership.is_member and self.attempts.is_time(now):
            self.attempts.fail(now, counts=True)


def _record(stored: MasterRecord) -> Record:
    try:
        return from_store(stored)
    except ValueError as error:
        raise CoordinationError(str(error)) from error
