"""The smallest node: whoever says something hears it again.

holdfast serve
holdfast node examples.echo_node:node
curl -d hello http://127.0.0.1:7512/
"""

from holdfast import Node, Request

node = Node("echo")


@node.on_request
async def echo(request: Request) -> bytes:
    return request.payload
