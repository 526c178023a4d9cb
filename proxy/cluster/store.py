"""What one proxy has with the coordination store: its card, the record, and never two operations at once.

Owns when the store is read, and how often a newcomer has tried to join. What is written is the cluster's decision. A
store that can't be reached, or understood, is one line in the log, however long that lasts; nothing but changes of the
cluster waits.
"""

import random
from collections.abc import Callable

import structlog
import trio

from holdfast.balancer.cluster.actions import Write
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.record import from_card, from_store, to_card, to_store
from holdfast.balancer.coordination.base import CoordinationError, Coordinator, StoreRefusal
from holdfast.proxy.config import ClusterSettings

log = structlog.get_logger("holdfast.store")

# Between two looks of a newcomer, up to: others have to hear it first, which takes some tenths of a second. Of several
# that want to join one succeeds with each version of the record, so they should not all look at the same moments.
JOIN_INTERVAL = 0.2
RETRY_DELAY = 0.25  # after the store has failed


class Attempts:
    """How a newcomer goes about it: it looks for a while, then waits and begins anew.

    failed: attempts that came to nothing and count. Those do not in which all members are merely absent: then there
    is nobody to let it in, and what is waited for is the proof of their death.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.failed = 0
        self._settings = settings
        self._begins = float("-inf")
        self._ends: float | None = None

    def look(self, now: float, *, counts: bool) -> None:
        """We are no member yet, and look. counts: whether it is one that comes to nothing if this lasts."""
        if now < self._begins:
            return
        if self._ends is None:
            self._ends = now + self._settings.discover_timeout
        elif now >= self._ends:
            self.fail(now, counts=counts)

    def fail(self, now: float, *, counts: bool) -> None:
        if now >= self._begins:
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
        self._has_card = False
        self.failure = ""  # why it can't be reached; "": it can
        self.is_refused = False  # it can be reached, and will never have us as we are

    def ask(self, write: Write) -> None:
        """To be written as soon as possible."""
        self._asked = write
        self._wake.set()

    async def withdraw(self) -> None:
        """We are out of the record and end: nothing there is ours any more. Raises CoordinationError."""
        async with self._turn:
            await self._coordinator.drop_card(self._cluster.me.proxy)

    async def run(self) -> None:
        """Task: look, or write what is asked, and again."""
        while True:
            self._wake = trio.Event()
            write, self._asked = self._asked, None
            try:
                async with self._turn:
                    await self._visit(write)
            except CoordinationError as error:
                self._failed(error, write)
                await trio.sleep(RETRY_DELAY)
                continue
            if self.failure:
                self.failure, self.is_refused = "", False
                log.info("store_is_back")
            self._on_answer()
            with trio.move_on_after(self._interval()):
                await self._wake.wait()

    def _interval(self) -> float:
        interval = self._card_ttl / 3
        if self._cluster.membership.is_member:
            return interval
        return min(JOIN_INTERVAL * random.uniform(0.5, 1.0), interval)

    async def _visit(self, write: Write | None) -> None:
        """Card first: whoever has read the store has also shown that it lives."""
        asked = trio.current_time()
        if not self._cluster.membership.is_leaving:
            await self._show_card()
        if write is not None:
            stored = from_store(await self._coordinator.swap_master(write.expected, to_store(write.record)))
        else:
            stored = from_store(await self._coordinator.master())
        cards = {proxy: from_card(proxy, card) for proxy, card in (await self._coordinator.cards()).items()}
        if write is None and self._asked is not None:
            return  # the answer to that is told in a moment
        self._cluster.stored(stored, cards, asked, trio.current_time())
        self._count_attempts()

    def _count_attempts(self) -> None:
        membership, now = self._cluster.membership, trio.current_time()
        if not membership.is_member:
            heard = membership.heard_now(now)
            is_anybody_there = any(id in membership.cards or id in heard for id in membership.record.ids)
            self.attempts.look(now, counts=is_anybody_there)

    async def _show_card(self) -> None:
        me = self._cluster.me
        if not self._has_card or not await self._coordinator.refresh_card(me.proxy, self._card_ttl):
            await self._coordinator.put_card(me.proxy, to_card(me), self._card_ttl)
            self._has_card = True

    def _failed(self, error: CoordinationError, write: Write | None) -> None:
        if not self.failure:
            log.warning("store_failed", error=str(error))
        self.failure = str(error) or type(error).__name__
        self.is_refused = isinstance(error, StoreRefusal)
        self._cluster.store_failed(was_writing=write is not None)
        if not self._cluster.membership.is_member:
            self.attempts.fail(trio.current_time(), counts=True)
