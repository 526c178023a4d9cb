"""A chat: what someone says is heard by everybody who has opened a WebSocket with the same path.

    holdfast serve
    holdfast node examples.chat_node:node
    python -m websockets ws://127.0.0.1:7512/kitchen

Start as many of these nodes as you like, and kill any but the last: the chat goes on.
"""

from holdfast import Client, Node, Request

node = Node("chat")


@node.on_open
async def welcome(client: Client) -> None:
    await node.join(client, client.path)


@node.on_request
async def say(request: Request) -> str:
    said = f"{request.client.address}: {request.payload.decode(errors='replace')}"
    await node.notify(said, channels=[request.client.path], exclude=[request.client])
    return said
