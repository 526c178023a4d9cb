"""A node that answers what is small, and keeps what is large for ever."""

import trio

from holdfast import Node, Request

node = Node("holder", capacity=10_000)


@node.on_request
async def request(request: Request) -> bytes:
    if len(request.payload) > 100_000:
        await trio.sleep_forever()
    return request.payload
