"""The fence: who is still here when it is taken down stays, and new clients come in again."""

from contextlib import AsyncExitStack

import pytest
import trio
from websockets.exceptions import InvalidStatus

from holdfast.proxy.clients.state import OPEN
from holdfast.proxy.cluster.fence import ClientsFence
from holdfast.proxy.process import draining
from tests.harness import running, websocket
from tests.waiting import PATIENCE

COUNT = 6


async def test_who_is_still_here_when_it_is_taken_down_stays(monkeypatch):
    monkeypatch.setattr(draining, "STEP", 1e-6)  # a client is closed in each pass of the scheduler
    with trio.fail_after(PATIENCE):
        async with running() as proxy, trio.open_nursery() as nursery, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(websocket(proxy)) for _ in range(COUNT)]
            connections = list(proxy.app.clients.connections.values())
            assert len(connections) == COUNT

            def here():
                return [connection for connection in connections if connection.state is OPEN]

            fence = ClientsFence(proxy.app.clients, proxy.app.reactor, spread=1.0)
            nursery.start_soon(fence.run)
            fence.put_up()
            while len(here()) == COUNT:
                await trio.lowlevel.checkpoint()
            fence.take_down()
            left = here()
            assert 0 < len(left) < COUNT
            for _ in range(10):  # far more passes than it would take
                await (await clients[-1].ping()).wait()
                async with websocket(proxy):
                    pass
            assert here() == left

            fence.put_up()
            await proxy.until(lambda: not here(), "the others to be closed, too")
            with pytest.raises(InvalidStatus):
                async with websocket(proxy):
                    pass
            nursery.cancel_scope.cancel()
