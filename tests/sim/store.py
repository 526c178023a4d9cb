"""The coordination store of the simulator: a record, cards with times, compare-and-set; it can be lost or forgetful."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from balancer.cluster.record import from_card, from_store, to_card, to_store
from balancer.coordination.base import MasterRecord
from protocols.peers.frames import Member, Record

if TYPE_CHECKING:
    from tests.sim.world import World

STORE = "store"
TIMEOUT = 2.0
Answer = Callable[[Record, dict[str, Member]], None]


class Store:
    """answers_lost: the share of operations that take place and are not answered."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.record = MasterRecord()
        self.former = MasterRecord()
        self.cards: dict[str, tuple[bytes, float]] = {}
        self.answers_lost = 0.0
        self.has_forgotten = False

    def ask(self, who: str, card: Member, write: tuple[Record, int] | None, answer: Answer, fail: Callable[[], None]):
        """Put the card, write if there is something, read all."""
        self._world.later(self._delay(), self._arrive, who, card, write, answer, fail)

    def _delay(self) -> float:
        return self._world.random.uniform(0.001, 0.02)

    def _arrive(self, who: str, card: Member, write: tuple[Record, int] | None, answer: Answer, fail) -> None:
        world = self._world
        is_answered = (STORE, who) not in world.cut and world.random.random() >= self.answers_lost
        if (who, STORE) in world.cut:
            is_answered = False
        else:
            self.cards[who] = (to_card(card), world.time + world.times.card_ttl)
            if write is not None:
                self._swap(who, *write)
        if not is_answered:
            world.later(TIMEOUT, world.on, who, fail)
            return
        cards = {proxy: from_card(data) for proxy, (data, end) in self.cards.items() if end > world.time}
        world.later(self._delay(), world.on, who, answer, from_store(self.record), cards)

    def _swap(self, who: str, record: Record, expected: int) -> None:
        if self.record.epoch == expected:
            self.former, self.record = self.record, to_store(record)
            self._world.note("store", who, record)
            self._world.checks.written(record)

    def forget(self) -> None:
        """The last write is gone, as after a failover of Redis."""
        self.record = self.former
        self.has_forgotten = True
        self._world.note("store forgets")
