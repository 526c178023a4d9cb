"""A chat: what someone says is heard by everybody who has opened a WebSocket with the same path.

    holdfast serve --set client.ordered=true
    holdfast node examples.chat_node:node
    python -m websockets ws://127.0.0.1:7512/kitchen

Start as many of these nodes as you like, and kill any but the last: the chat goes on. What one person says is heard in
the order in which it was said: one node sees to that by itself, several need `client.ordered`.
"""

from holdfast import Client, Node, Request

node = Node("chat", order="client")


@node.on_open
async def welcome(client: Client) -> None:
    await node.join(client, client.path)


@node.on_request
async def say(request: Request) -> str:
    said = f"{request.client.address}: {request.payload.decode(errors='replace')}"
    await node.notify(said, channels=[request.client.path], exclude=[request.client])
    return said
