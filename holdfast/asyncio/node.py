"""Node, for authors whose functions are asyncio's.

Owns what of a node's life differs: whose functions run where, and that Trio runs within asyncio.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import trio

from holdfast.asyncio import hosts
from holdfast.asyncio.dispatch import AsyncioDispatch
from holdfast.node import node
from holdfast.node.function import innermost, name_of
from holdfast.node.functions import FunctionT, ManagerT
from holdfast.node.node import ResultT


class Node(node.Node):
    """A backend node whose async functions run in asyncio; all else is as in `holdfast.Node`.

    Its methods, those of `node.state` and of requests are awaited in asyncio, in the thread in which the node runs: in
    handlers, in tasks that they start, and in whatever else runs there. Cancellation is asyncio's: a function that is
    no longer wanted is cancelled once, and counts as running until it ends. Plain functions run in threads, and await
    by `trio.from_thread.run(node.notify, ...)`; with inline=True they are called in the loop's thread.
    request.deadline: by the loop's clock, as `asyncio.timeout_at(request.deadline)` takes it.
    A reply in parts is made by the handler's own task.
    """

    _dispatch = AsyncioDispatch
    _is_trios = False

    async def run(self, join: Sequence[str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """In asyncio: be a node of the proxies at `join` (such as "tcp://127.0.0.1:7510") and of those they name.

        Reconnects for ever; returns after `drain`. Cancelled, it is gone at once: its handlers are cancelled, and its
        requests go to other nodes. Several nodes may run in one loop. Raises LinkRefused if a proxy will not have it as
        it is, ConfigError for an address that is none, RuntimeError in a run of Trio's own. May be called again after
        it has returned.
        """
        if hosts.is_guest():
            await super().run(join, task_status=task_status)
        elif hosts.is_trio():
            raise RuntimeError(f"node {self.id} is asyncio's: asyncio.run(node.run(...)), or `holdfast node`")
        else:
            async with hosts.guest() as crossing:
                await crossing.to_trio(super().run, join)

    def _start(self, function: Callable[..., Awaitable[ResultT]], *arguments: object) -> ResultT:
        return hosts.run(function, *arguments)

    def _is_at_home(self) -> bool:
        return hosts.is_guest()

    def _adapt(self, function: FunctionT) -> FunctionT:
        def adapted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - the author's
            result = function(*arguments, **named)
            return _finish(result) if isinstance(result, Awaitable) else result

        adapted.__qualname__ = name_of(function)
        adapted.__wrapped__ = innermost(function)  # type: ignore[attr-defined]
        return cast("FunctionT", adapted)

    def _adapt_manager(self, manager: ManagerT) -> ManagerT:
        return cast("ManagerT", hosts.crossing().within_asyncio(manager))


async def _finish(awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401
    """Await what is asyncio's, from wherever."""
    return await (hosts.crossing().to_asyncio(awaitable) if hosts.is_trio() else awaitable)
