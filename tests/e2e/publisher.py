"""A node for the tests here: every client is in "all", and a request {"count": N, "bytes": N} publishes that to it."""

import json

from holdfast import Node, Request

node = Node("publisher")


@node.on_request
async def handle(request: Request) -> str:
    order = json.loads(request.payload)
    if order.get("join"):
        await node.join(request.client, "all")
        return "joined"
    for number in range(order["count"]):
        await node.notify(f"{number:06d}".ljust(order["bytes"], "."), channels=["all"])
        await request.flush()
    return "published"
