"""The coordination store of one process, for several proxies in one test.

Owns nothing beyond its life. Every operation is one checkpoint, then its effect.
"""

from collections.abc import Callable

import trio

from holdfast.balancer.coordination.base import Coordinator, MasterRecord


class MemoryCoordinator(Coordinator):
    """A Coordinator in plain attributes; proxies that are to agree share the object. It can always be reached."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._cards: dict[str, tuple[bytes, float]] = {}  # proxy: card, and when it ends
        self._master = MasterRecord()

    async def put_card(self, proxy: str, card: bytes, ttl: float) -> None:
        await trio.lowlevel.checkpoint()
        self._cards[proxy] = (card, self._clock() + ttl)

    async def refresh_card(self, proxy: str, ttl: float) -> bool:
        card = (await self.cards()).get(proxy)
        if card is None:
            return False
        self._cards[proxy] = (card, self._clock() + ttl)
        return True

    async def drop_card(self, proxy: str) -> None:
        await trio.lowlevel.checkpoint()
        self._cards.pop(proxy, None)

    async def cards(self) -> dict[str, bytes]:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        self._cards = {proxy: (card, end) for proxy, (card, end) in self._cards.items() if now < end}
        return {proxy: card for proxy, (card, _) in self._cards.items()}

    async def master(self) -> MasterRecord:
        await trio.lowlevel.checkpoint()
        return self._master

    async def swap_master(self, expected: int, record: MasterRecord) -> MasterRecord:
        if record.epoch <= expected:
            raise ValueError(f"expected an epoch greater than {expected}, got {record.epoch}")
        await trio.lowlevel.checkpoint()
        if self._master.epoch == expected:
            self._master = record
        return self._master

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
