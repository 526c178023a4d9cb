"""One step of a test, from wherever it is taken: a test that is sync, Trio's or asyncio's.

Each call makes a run of Trio. Where a loop runs already it is made in a thread, and that loop waits meanwhile.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import trio

from holdfast.node.effects import Payload
from holdfast.node.node import Node
from holdfast.node.request import Client
from holdfast.testing.alone import TIMEOUT, Alone, HeaderPairs, alone
from holdfast.testing.results import Result


def call(
    node: Node,
    payload: Payload = b"",
    *,
    client: Client | None = None,
    http: str | None = None,
    headers: HeaderPairs = (),
    text: bool | None = None,
    attempt: int = 1,
    timeout: float = TIMEOUT,
    state: Mapping[str, Any] | None = None,
    clients: Iterable[Client] = (),
    channels: Mapping[str, Iterable[Client]] | None = None,
    master: bool = False,
) -> Result:
    """Have a node handle one request, and return what came of it: `Alone.call` in an `alone` of its own.

    Nothing is left of it but what is in the result, so tests do not see each other: for a second step give it
    `state=result.state`, or use `alone`. In a test of asyncio or Trio its loop waits until this returns: for a handler
    that waits for the test, use `alone`, or call this in a thread.
    """

    async def step(steps: Alone) -> Result:
        return await steps.call(
            payload, client=client, http=http, headers=headers, text=text, attempt=attempt, timeout=timeout
        )

    return _run(node, step, state, clients, channels, master)


def connect(
    node: Node,
    client: Client,
    *,
    state: Mapping[str, Any] | None = None,
    clients: Iterable[Client] = (),
    channels: Mapping[str, Iterable[Client]] | None = None,
    master: bool = False,
) -> Result:
    """A client wants to come in: what on_connect says is the result's session or failure. As `call` otherwise."""

    async def step(steps: Alone) -> Result:
        return await steps.connect(client)

    return _run(node, step, state, clients, channels, master)


def open(
    node: Node,
    client: Client,
    *,
    state: Mapping[str, Any] | None = None,
    clients: Iterable[Client] = (),
    channels: Mapping[str, Iterable[Client]] | None = None,
    master: bool = False,
) -> Result:
    """A client comes: what on_open does. As `call` otherwise."""

    async def step(steps: Alone) -> Result:
        return await steps.open(client)

    return _run(node, step, state, clients, channels, master)


def close(
    node: Node,
    client: Client,
    reason: str = "client_left",
    *,
    state: Mapping[str, Any] | None = None,
    clients: Iterable[Client] = (),
    channels: Mapping[str, Iterable[Client]] | None = None,
    master: bool = False,
) -> Result:
    """A client goes that was there: what on_close does, and not what on_open did before. As `call` otherwise."""

    async def step(steps: Alone) -> Result:
        return await steps.close(client, reason)

    return _run(node, step, state, [*clients, client], channels, master)


def _run(
    node: Node,
    step: Callable[[Alone], Awaitable[Result]],
    state: Mapping[str, Any] | None,
    clients: Iterable[Client],
    channels: Mapping[str, Iterable[Client]] | None,
    master: bool,
) -> Result:
    async def main() -> Result:
        async with alone(node, state=state, clients=clients, channels=channels, master=master) as steps:
            return await step(steps)

    def run() -> Result:
        return trio.run(main)

    if not _is_in_a_loop():
        return run()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, run).result()


def _is_in_a_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # if nobody has loaded it, no loop of it runs
    return trio.lowlevel.in_trio_run() or (asyncio is not None and asyncio._get_running_loop() is not None)
