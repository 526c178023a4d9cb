"""Nodes whose handlers do the same, in Trio and in asyncio: what is measured is the difference."""

import asyncio

import trio

import holdfast.asyncio
from holdfast import Request


def echoing(node: holdfast.Node) -> holdfast.Node:
    """Its handler waits for nothing."""

    @node.on_request
    async def echo(request: Request) -> bytes:
        return request.payload

    return node


def notifying(node: holdfast.Node) -> holdfast.Node:
    """An effect goes with each reply; nobody is in the channel."""

    @node.on_request
    async def notify(request: Request) -> bytes:
        await node.notify(request.payload, channels=["nobody"])
        return request.payload

    return node


trio_echo = echoing(holdfast.Node("trio"))
asyncio_echo = echoing(holdfast.asyncio.Node("asyncio"))
trio_notify = notifying(holdfast.Node("trio"))
asyncio_notify = notifying(holdfast.asyncio.Node("asyncio"))
trio_wait = holdfast.Node("trio")
asyncio_wait = holdfast.asyncio.Node("asyncio")


@trio_wait.on_request
async def wait_in_trio(request: Request) -> bytes:
    await trio.lowlevel.checkpoint()
    return request.payload


@asyncio_wait.on_request
async def wait_in_asyncio(request: Request) -> bytes:
    await asyncio.sleep(0)
    return request.payload
