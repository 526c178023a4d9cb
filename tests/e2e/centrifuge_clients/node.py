"""The application of the scripts beside it."""

import trio

from holdfast import Node, PublishRequest, Refused, Request, RequestError, SubscribeRequest, Subscription

node = Node("app")


@node.on_message("method", "echo")
async def echo(request: Request, body: dict) -> object:
    return body["data"]


@node.on_message("method", "slow")
async def slow(request: Request, body: dict) -> dict:
    """Long enough that a node is killed amid some of these."""
    await trio.sleep(0.05)
    return {"n": body["data"], "redelivered": request.redelivered}


@node.on_message("method", "fail")
async def fail(request: Request, body: dict) -> None:
    raise RequestError(body["data"], "as you like")


@node.on_message("method", "who")
async def who(request: Request) -> dict:
    client = request.client
    headers = dict(client.headers)
    return {
        "id": f"{client.id:016x}",
        "user": client.user,
        "path": client.path,
        "data": headers.get("centrifuge-data"),
        "name": headers.get("centrifuge-name"),
    }


@node.on_message("method", "leave")
async def leave(request: Request, body: dict) -> None:
    await node.close(request.client, "go", code=body["data"])


@node.on_message("type", "move")
async def move(request: Request, body: dict) -> None:
    """Sent, and so without a reply: what comes of it is a notification."""
    await node.notify({"moved": body["to"]}, clients=[request.client])


@node.on_message("method", "log")
async def log(request: Request, body: dict) -> list:
    """All that is kept of a channel."""
    page = await node.history(body["data"], since=0, limit=1000)
    return [publication.json() for publication in page.publications]


@node.on_message("method", "notify")
async def notify(request: Request, body: dict) -> None:
    for number in body["data"]["numbers"]:
        await node.notify(number, channels=[body["data"]["channel"]])


@node.on_message("method", "into")
async def into(request: Request, body: dict) -> None:
    await node.join(request.client, body["data"])
    await node.notify("welcome", channels=[body["data"]])
    await node.leave(request.client, body["data"])
    await node.notify("nobody hears it", channels=[body["data"]])


@node.on_subscribe("room:{id}")
async def may(request: SubscribeRequest, id: int, body: dict | None = None) -> Subscription:
    if id > 9:
        raise Refused(404, "no such room")
    return Subscription(info={"room": id, "said": body})


@node.on_publish("room:{id}")
async def said(request: PublishRequest, id: int) -> dict:
    if request.json() == "bad":
        raise Refused(422, "not that")
    return {"room": id, "text": request.json()}


@node.on_publish("log:*")
def logged(request: PublishRequest) -> None:
    """As it came."""
