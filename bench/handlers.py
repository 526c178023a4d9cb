"""Nodes whose handlers do the same: in Trio, in asyncio, with more around them. What is measured is the difference."""

import asyncio

import msgspec
import trio

import holdfast.asyncio
from holdfast import CallNext, Request


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


# --- what an application has around its handlers --------------------------------------------------------------------


class Said(msgspec.Struct):
    """What bench/c/load.c sends."""

    controller: str
    requestId: str
    body: str


with_middleware = echoing(holdfast.Node("middleware"))
with_body = holdfast.Node("typed body")
with_route = holdfast.Node("route")
with_thread = holdfast.Node("thread")
with_order = echoing(holdfast.Node("order", order="client"))


@with_middleware.middleware
async def pass_on(request: Request, call_next: CallNext) -> object:
    return await call_next(request)


@with_body.on_request
async def check(request: Request, body: Said) -> bytes:
    return request.payload


@with_route.on_message("controller", "bench")
async def of_the_bench(request: Request) -> bytes:
    return request.payload


@with_thread.on_request
def echo_in_a_thread(request: Request) -> bytes:
    return request.payload
