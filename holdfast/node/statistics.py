"""What a node says of itself."""

from typing import Protocol

from msgspec import Struct


class Statistics(Struct, frozen=True):
    """What a node is doing, and has done in this run.

    clients: 0 in a node that is not told of clients. in_flight: requests that have come and not ended. callbacks: calls
    of on_open, on_close and on_state that have not returned: how far they lag behind. tasks: those of `start_soon` that
    have not ended. waiting: those in flight whose handler has not begun. threads: busy with handlers that are plain
    functions. threads_waiting: such handlers that wait for one.
    """

    proxies: int
    clients: int
    state_keys: int
    in_flight: int
    handled: int
    failed: int
    cancelled: int
    callbacks: int
    tasks: int
    waiting: int
    threads: int
    threads_waiting: int


class Measured(Protocol):
    """A node, as it is measured."""

    capacity: int
    threads: int

    @property
    def is_master(self) -> bool: ...

    def statistics(self) -> Statistics: ...
