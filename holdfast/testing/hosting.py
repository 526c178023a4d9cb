"""Where a node runs while it is tested: in the test's own loop, or in one of its own where that is another's.

Owns the way from a test to it. In a test of asyncio Trio runs within the test's loop, so handlers may use what belongs
to that. In a test of Trio a node of asyncio's has a thread, since neither loop runs within the other there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import trio
from sniffio import thread_local as library

from holdfast.node import elsewhere
from holdfast.node.node import Node
from holdfast.testing.nursery import nursery

ResultT = TypeVar("ResultT")


class Do(Protocol):
    """`await do(function, *arguments)` awaits a function of Trio's where the node runs."""

    async def __call__(self, function: Callable[..., Awaitable[ResultT]], /, *arguments: Any) -> ResultT: ...  # noqa: ANN401 - anything


async def here(function: Callable[..., Awaitable[ResultT]], /, *arguments: Any) -> ResultT:  # noqa: ANN401 - anything
    return await function(*arguments)


@asynccontextmanager
async def hosted(node: Node, running: AbstractAsyncContextManager[None]) -> AsyncIterator[Do]:
    """`async with running`, in Trio, where the node can run."""
    if library.name != "trio":
        from holdfast.asyncio import hosts  # tests of Trio need not load it

        async with hosts.guest() as crossing, crossing.within_trio(running):
            yield elsewhere.in_trio
    elif node._is_at_home():
        async with running:
            yield here
    else:
        async with _in_a_thread(node, running) as do:
            yield do


@asynccontextmanager
async def _in_a_thread(node: Node, running: AbstractAsyncContextManager[None]) -> AsyncIterator[Do]:
    begun, leaving = trio.Event(), trio.Event()
    home = trio.lowlevel.current_trio_token()
    there: trio.lowlevel.TrioToken | None = None
    has_left = False

    async def hold() -> None:
        nonlocal there
        async with running:
            there = trio.lowlevel.current_trio_token()
            home.run_sync_soon(begun.set)
            if not has_left:
                await leaving.wait()

    async def do(function: Callable[..., Awaitable[ResultT]], /, *arguments: Any) -> ResultT:  # noqa: ANN401 - anything
        def step() -> ResultT:
            return trio.from_thread.run(function, *arguments, trio_token=there)

        return await trio.to_thread.run_sync(step, abandon_on_cancel=True)

    async with nursery() as tasks:
        tasks.start_soon(trio.to_thread.run_sync, node._start, hold)
        try:
            await begun.wait()
            yield do
        finally:
            has_left = True
            if there is not None:
                there.run_sync_soon(leaving.set)
