"""The coordination store of one process: for a proxy that is alone, and for several in one test.

Owns nothing beyond its life: a new one knows no epochs. That is safe, because the election takes its next epoch from
what nodes have seen as well (balancer.election). Every operation is one checkpoint, then its effect.
"""

from collections.abc import Callable

import trio

from balancer.coordination.base import Coordinator, MasterRecord


class MemoryCoordinator(Coordinator):
    """A Coordinator in plain attributes; proxies that are to agree share the object. It can always be reached."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._cards: dict[str, tuple[bytes, float]] = {}  # proxy: card, and when it ends
        self._owner = ""
        self._number = 0
        self._locked_until = float("-inf")
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

    async def lock(self, owner: str, ttl: float) -> int | None:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        if owner != self._owner and now < self._locked_until:
            return None
        self._owner, self._locked_until = owner, now + ttl
        self._number += 1
        return self._number

    async def unlock(self, number: int) -> bool:
        await trio.lowlevel.checkpoint()
        if number != self._number or self._clock() >= self._locked_until:
            return False
        self._locked_until = float("-inf")
        return True

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
