"""The seam of coordination stores.

A store is never on the way of a request: when it can't be reached, traffic flows, and elections and joins wait.
Contract suite: tests/contracts/test_coordinator.py.
"""

from typing import Protocol

from msgspec import Struct

from holdfast.protocols.errors import HoldfastError


class CoordinationError(HoldfastError):
    """The store can't be reached or did not answer. Whether the operation took place is unknown: do it again."""


class StoreRefusal(CoordinationError):
    """The store is there, and refuses us or is not what the settings say. It will do so again, until somebody changes
    the one or the other."""


class MasterRecord(Struct, frozen=True):
    """Which node was last elected. epoch 0, node "": none has been yet."""

    epoch: int = 0
    node: str = ""


class Coordinator(Protocol):
    """What proxies agree through. Called by the tasks that drive election and cluster, from any number of them.

    Each operation is atomic, and every one that begins after another has returned sees its effect. Times are seconds,
    counted by the store's own clock. Each raises CoordinationError when the store can't be reached, or has not
    answered within a time of its own. Cancellation means that the outcome is unknown, as after that error: it may also
    take place some time later, when a frozen store wakes up. Every operation may be repeated without harm.

    A store can lose its data: a file is deleted; a Redis comes back empty, or without the last that it was told.
    Cards come back, because refreshing one that has gone says so; and the record, because its members write it again.
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

    async def master(self) -> MasterRecord:
        """The record of the master. It has no time to live: epochs must not be forgotten."""
        ...

    async def swap_master(self, expected: int, record: MasterRecord) -> MasterRecord:
        """Compare and set: write `record` if the present one has epoch `expected`. Returns what is then there.

        So it has succeeded if what returns equals `record`; when two proxies write the same, both have. Raises
        ValueError if `record.epoch` is not greater than `expected`: epochs only grow.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections and files; nothing is asked of the store afterwards. Not hindered by cancellation."""
        ...
