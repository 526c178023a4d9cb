"""The nodes of bench.growth, which `holdfast node` runs: they join a client to the channels that it names."""

from holdfast import Node, Request

node = Node("growth")


@node.on_request
async def handle(request: Request) -> str:
    channels = request.payload.decode().split()
    for channel in channels:
        await node.join(request.client, channel)
    return f"{len(channels)}"
