"""Whether what a node does to clients can go anywhere now: it is waited for as long as it may still come to that.

Owns where a run stands: before it there is nothing to wait for, while it begins and while no proxy is linked there is,
and a node that leaves holds what is new until it has left.
"""

import trio

from holdfast.protocols.errors import HoldfastError


class Gate:
    def __init__(self) -> None:
        self._is_running = False
        self._opener: trio.lowlevel.Task | None = None  # who may not wait for a proxy, because all wait for it
        self._linked = trio.Event()  # set while there is a session, and while none can come
        self._linked.set()
        self._ended = trio.Event()
        self.is_held = False

    def begin(self) -> None:
        """From now on a proxy is waited for, but not by the calling task, until it has it linked."""
        self._is_running, self._linked, self._opener = True, trio.Event(), trio.lowlevel.current_task()

    def link(self) -> None:
        """The calling task has all that is before it behind it: from now on it may wait, too."""
        self._opener = None

    def linked(self) -> None:
        self._linked.set()

    def unlinked(self) -> None:
        self._linked = trio.Event()

    def hold(self) -> None:
        """What is done to clients from now on waits for the end of the run, and goes nowhere: an author's task that
        publishes on and on would always have something under way that is lost with us."""
        self.is_held = True

    def end(self) -> None:
        """Who still waits is told that it is in vain."""
        self._is_running = False
        self._opener = None
        self._ended.set()
        self._linked.set()

    async def wait(self) -> None:
        """Wait until a proxy is linked. Always a checkpoint. Raises HoldfastError if the node does not run, or no
        longer does."""
        if self._opener is not None and self._opener is trio.lowlevel.current_task():
            raise HoldfastError("a lifespan is entered before the node is linked: what it does goes nowhere yet")
        await self._linked.wait()
        if self.is_held:
            await self._ended.wait()
        if not self._is_running:
            raise HoldfastError("the node does not run: what it does goes nowhere before `run` and after it")
