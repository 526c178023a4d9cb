"""The seam of coordination stores.

A store is never on the way of a request: when it can't be reached, traffic flows, and elections and joins wait.
Contract suite: tests/contracts/test_coordinator.py.
"""

from typing import Protocol

from msgspec import Struct

from protocols.errors import HoldfastError


class CoordinationError(HoldfastError):
    """The store can't be reached or did not answer. Whether the operation took place is unknown: do it again."""


class MasterRecord(Struct, frozen=True):
    """Which node was last elected. epoch 0, node "": none has been yet."""

    epoch: int = 0
    node: str = ""


class Coordinator(Protocol):
    """What proxies agree through. Called by the tasks that drive election and cluster, from any number of them.

    Each operation is atomic, and every one that begins after another has returned sees its effect. Times are seconds,
    counted by the store's own clock. Each raises CoordinationError when the store can't be reached. Cancellation
    means that the outcome is unknown, as after that error; every operation may be repeated without harm.
    """

    async def put_card(self, proxy: str, card: bytes, ttl: float) -> None:
        """Write the proxy's id card, in place of a former one; it lasts for `ttl`. `card` is opaque to the store."""
        ...

    async def refresh_card(self, proxy: str, ttl: float) -> bool:
        """Let the card last for `ttl` from now. False: it has gone, and others may have acted on that."""
        ...

    async def drop_card(self, proxy: str) -> None:
        """Remove the card, if it is there."""
        ...

    async def cards(self) -> dict[str, bytes]:
        """Every card whose time has not passed, by proxy."""
        ...

    async def lock(self, owner: str, ttl: float) -> int | None:
        """Take the mutex for `ttl`, without waiting. None: another owner has it.

        The number is for fencing: it is greater than all before, so what is done under it can be told from what a
        former holder, whose time has passed, still tries. An owner that holds the mutex gets a new number and a new
        time, and its former number is void: so it can extend, and ask again after an unknown outcome.
        """
        ...

    async def unlock(self, number: int) -> bool:
        """Give the mutex back. False: it is not held under this number, and nothing was done."""
        ...

    async def master(self) -> MasterRecord:
        """The record of the master. It has no time to live: epochs must not be forgotten."""
        ...

    async def swap_master(self, expected: int, record: MasterRecord) -> MasterRecord:
        """Compare and set: write `record` if the present one has epoch `expected`. Returns what is then there.

        So it has succeeded if what returns equals `record`; when two proxies write the same, both have. Raises
        ValueError if `record.epoch` is not greater than `expected`: epochs only grow.
        """
        ...
