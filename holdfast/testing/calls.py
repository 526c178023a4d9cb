"""One step of a test, from wherever it is taken: a test that is sync, Trio's or asyncio's.

Each call makes a run of Trio, for a node of asyncio's within a loop of asyncio's. Where a loop runs already it is made
in a thread, and that loop waits meanwhile.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypedDict, Unpack

import trio

from holdfast.node.effects import Payload
from holdfast.node.node import Node
from holdfast.node.request import Client
from holdfast.testing.alone import TIMEOUT, Alone, alone
from holdfast.testing.clients import HeaderPairs
from holdfast.testing.given import check_node, clients_of
from holdfast.testing.results import Result


class World(TypedDict, total=False):
    """What is around a node: each as an argument of `alone`."""

    state: Mapping[str, Any] | None
    clients: Iterable[Client]
    channels: Mapping[str, Iterable[Client]] | None
    master: bool
    answers: Mapping[str, Any] | None
    history: Mapping[str, Iterable[Payload]] | None


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
    **world: Unpack[World],
) -> Result:
    """Have a node handle one request, and return what came of it: `Alone.call` in an `alone` of its own.

    world: state, clients, channels, master, answers, history, as of `alone`.
    Nothing is left of it but what is in the result, so tests do not see each other: for a second step give it
    `state=result.state`, or use `alone`. In a test of asyncio or Trio its loop waits until this returns: for a handler
    that waits for the test, or uses what belongs to the test's loop, use `alone`, or call this in a thread.
    """

    async def step(steps: Alone) -> Result:
        return await steps.call(
            payload, client=client, http=http, headers=headers, text=text, attempt=attempt, timeout=timeout
        )

    return _run(node, step, world)


def ask(
    node: Node,
    payload: Payload,
    *,
    text: bool | None = None,
    sender: str = "another",
    attempt: int = 1,
    timeout: float = TIMEOUT,
    **world: Unpack[World],
) -> Result:
    """Another node asks, by `ask` or `tell`: what on_ask answers. sender: its id. As `call` otherwise."""

    async def step(steps: Alone) -> Result:
        return await steps.ask(payload, text=text, sender=sender, attempt=attempt, timeout=timeout)

    return _run(node, step, world)


def connect(node: Node, client: Client, **world: Unpack[World]) -> Result:
    """A client wants to come in: what on_connect says is the result's session or failure. As `call` otherwise.

    The result's `client` is what it is then: for the next step.
    """

    async def step(steps: Alone) -> Result:
        return await steps.connect(client)

    return _run(node, step, world)


def subscribe(
    node: Node,
    channel: str,
    payload: Payload = b"",
    *,
    client: Client | None = None,
    token: str = "",
    is_filter: bool = False,
    attempt: int = 1,
    timeout: float = TIMEOUT,
    **world: Unpack[World],
) -> Result:
    """A client would subscribe to a channel: what on_subscribe says is the result's subscription or failure. As
    `Alone.subscribe`; otherwise as `call`."""

    async def step(steps: Alone) -> Result:
        more: Any = {"token": token, "is_filter": is_filter, "attempt": attempt, "timeout": timeout}
        return await steps.subscribe(channel, payload, client=client, **more)

    return _run(node, step, world)


def publish(
    node: Node,
    channel: str,
    payload: Payload,
    *,
    client: Client | None = None,
    text: bool | None = None,
    attempt: int = 1,
    timeout: float = TIMEOUT,
    **world: Unpack[World],
) -> Result:
    """A client publishes to a channel: what on_publish has published is among the result's effects. As
    `Alone.publish`; otherwise as `call`."""

    async def step(steps: Alone) -> Result:
        return await steps.publish(channel, payload, client=client, text=text, attempt=attempt, timeout=timeout)

    return _run(node, step, world)


def open(node: Node, client: Client, **world: Unpack[World]) -> Result:
    """A client comes: what on_open does. As `call` otherwise."""

    async def step(steps: Alone) -> Result:
        return await steps.open(client)

    return _run(node, step, world)


def close(node: Node, client: Client, reason: str = "client_left", **world: Unpack[World]) -> Result:
    """A client goes that was there: what on_close does, and not what on_open did before. As `call` otherwise."""

    async def step(steps: Alone) -> Result:
        return await steps.close(client, reason)

    return _run(node, step, {**world, "clients": [*clients_of(world.get("clients", ())), client]})


def _run(node: Node, step: Callable[[Alone], Awaitable[Result]], world: World) -> Result:
    check_node(node)

    async def main() -> Result:
        async with alone(node, **world) as steps:
            return await step(steps)

    if not _is_in_a_loop():
        return node._start(main)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, node._start, main).result()


def _is_in_a_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # if nobody has loaded it, no loop of it runs
    return trio.lowlevel.in_trio_run() or (asyncio is not None and asyncio._get_running_loop() is not None)
