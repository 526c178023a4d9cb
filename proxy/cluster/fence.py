"""The fence: a proxy that is cut off sends its clients away, and takes none, until it is with the others again."""

import trio

from holdfast.protocols.close import Reason
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.process.draining import close_clients

WHY = "cut off from the other proxies; connect again"


class ClientsFence:
    """spread: seconds over which clients are closed."""

    def __init__(self, clients: Clients, reactor: Reactor, spread: float) -> None:
        self._clients = clients
        self._reactor = reactor
        self._spread = spread
        self._up = trio.Event()
        self._closing = trio.CancelScope()

    def put_up(self) -> None:
        """From now on new clients are refused, and those that are here are closed."""
        self._clients.refuses = Reason.FENCED
        self._up.set()

    def take_down(self) -> None:
        """Whoever is still here stays."""
        self._clients.refuses = None
        self._closing.cancel(reason="with the others again")

    async def run(self) -> None:
        """Task."""
        while True:
            await self._up.wait()
            self._up = trio.Event()
            with trio.CancelScope() as self._closing:
                if self._clients.refuses is not None:
                    await close_clients(self._spread, self._clients, self._reactor, Reason.FENCED, WHY)
