"""Auctions: a room for each, in which everybody sees who is here and what is bid.

All that an auction is stands in one entry of the nodes' shared state, `auction/ID`, and changes only by
`node.state.update`: of two bids, or of a bid and the end, one is first, at whichever nodes they are. A bid has a number
within its auction, from 1, and everybody is told it with that: who misses one sees a gap, and asks for the rest. So it
does not matter which node tells what, how late, or how often.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from examples.auction import tokens
from holdfast import Client, Node, Refused, Reply, Request, RequestError, Session

KEPT = 500  # bids of an auction that can be caught up with, and that a repeated bid is known among
FORGOTTEN = 3600.0  # seconds after its end
TICK = 1.0  # seconds
PAGE = Path(__file__).with_name("page.html").read_bytes()
PASSWORDS = {"ada": "ada", "bob": "bob", "cyd": "cyd"}  # yours has a database

Auction = dict[str, Any]  # title, ends (seconds since 1970), closed, count, bids: [number, user, price, id], by number

node = Node("auction", order="client")


class Login(Struct):
    name: str
    password: str


@node.on_request("/login", method="POST")
async def login(request: Request, body: Login) -> Reply:
    if PASSWORDS.get(body.name) != body.password:
        raise RequestError(401, "wrong name or password")
    cookie = f"token={tokens.sign(body.name)}; Path=/; HttpOnly; SameSite=Strict; Max-Age={tokens.LIFETIME:.0f}"
    return Reply({"user": body.name}, headers={"set-cookie": cookie})


def who(client: Client) -> tuple[str, float]:
    """Their name, and for how many more seconds."""
    try:
        return tokens.check(client.cookies.get("token", ""))
    except ValueError as error:
        raise Refused(401, str(error), close_code=4401) from error  # a browser shows pages no status of a handshake


@node.on_connect
async def admit(client: Client) -> Session:
    user, left = who(client)
    if key_of(client) not in node.state:
        raise Refused(404, f"there is no {client.path}", close_code=4404)
    return Session(user, channels=[client.path], expires=left)


class NewAuction(Struct):
    title: Annotated[str, Meta(min_length=1, max_length=100)]
    seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60.0


@node.on_request("/", method="GET")
async def page(request: Request) -> Reply:
    return Reply(PAGE, headers={"content-type": "text/html; charset=utf-8"})


@node.on_request("/auctions", method="GET")
async def auctions(request: Request) -> list[Auction]:
    return [{"id": key.partition("/")[2], **summary(auction)} for key, auction in sorted(node.state.items("auction/"))]


@node.on_request("/auctions/{id}", method="GET")
async def auction(request: Request, id: str) -> Auction:
    return existing(node.state.get(f"auction/{id}"))


@node.on_request("/auctions", method="POST")
async def open_auction(request: Request, body: NewAuction) -> Reply:
    who(request.client)
    id = f"{request.client.id:x}-{request.id:x}"  # no other request has it, and this one has it again if redelivered
    new = {"title": body.title, "ends": time.time() + body.seconds, "closed": False, "count": 0, "bids": []}
    await node.state.update(f"auction/{id}", lambda there: there or new)
    return Reply({"id": id}, status=201)


@node.on_open(once=True)
async def came(client: Client) -> None:
    await node.notify(said_since(client, 0), clients=[client])
    await node.notify({"type": "here", "here": here(client.path, came=[client])}, channels=[client.path])


@node.on_close(once=True)
async def went(client: Client) -> None:
    await node.notify({"type": "here", "here": here(client.path, went=[client])}, channels=[client.path])


def here(room: str, came: Sequence[Client] = (), went: Sequence[Client] = ()) -> list[str]:
    """Who is there. What one of the nodes is told of, another one may not know yet."""
    clients = {each for each in node.clients.values() if each.path == room}.union(came).difference(went)
    return sorted({each.user for each in clients})


class Bid(Struct):
    """requestId: the page's own, and the same when it bids again because it does not know what came of it."""

    requestId: Annotated[str, Meta(min_length=8, max_length=64)]  # errors bring it, too
    price: Annotated[int, Meta(gt=0, le=10**12)]


@node.on_message("type", "bid", path="/auctions/{id}")
async def bid(request: Request, id: str, body: Bid) -> Auction:
    user = request.client.user

    def placed(auction: Auction | None) -> Auction:
        auction = existing(auction)
        if number_of(auction, user, body.requestId):
            return auction  # it is there: another node was lost with it, or the page with our answer
        if auction["closed"] or time.time() >= auction["ends"]:
            raise RequestError(410, "the auction is over")
        if body.price <= (price := summary(auction)["price"]):
            raise RequestError(409, f"{price} is bid already")
        number = auction["count"] + 1
        bids = [*auction["bids"], [number, user, body.price, body.requestId]][-KEPT:]
        return {**auction, "count": number, "bids": bids}

    number = number_of(await node.state.update(f"auction/{id}", placed), user, body.requestId)
    told = {"type": "bid", "bid": [number, user, body.price, body.requestId]}
    await node.notify(told, channels=[request.client.path])
    return {"type": "placed", "requestId": body.requestId, "number": number}


class Since(Struct):
    number: int


@node.on_message("type", "since", path="/auctions/{id}")
async def since(request: Request, id: str, body: Since) -> Auction:
    return said_since(request.client, body.number)


def said_since(client: Client, number: int) -> Auction:
    auction: Auction = node.state.get(key_of(client), {"bids": [], "count": 0, "ends": 0, "closed": True, "title": ""})
    return {"type": "bids", "bids": [each for each in auction["bids"] if each[0] > number], **summary(auction)}


@node.every(TICK, on="master")
async def tick() -> None:
    """Close what is over, and tell each room where it is: who missed the last bid, or the end, has it from this."""
    for key, auction in node.state.items("auction/"):
        if not auction["closed"] and time.time() >= auction["ends"]:
            auction = await node.state.update(key, lambda found: {**found, "closed": True})
        elif time.time() >= auction["ends"] + FORGOTTEN:
            await node.state.delete(key)
            continue
        room = "/auctions/" + key.partition("/")[2]
        await node.notify({"type": "tick", "here": here(room), **summary(auction)}, channels=[room])


def existing(auction: Auction | None) -> Auction:
    if auction is None:
        raise RequestError(404, "there is no such auction")
    return auction


def key_of(client: Client) -> str:
    return "auction/" + client.path.removeprefix("/auctions/")


def number_of(auction: Auction, user: str, id: str) -> int:
    return next((number for number, whose, _, its in auction["bids"] if (whose, its) == (user, id)), 0)


def summary(auction: Auction) -> Auction:
    _, leader, price, _ = auction["bids"][-1] if auction["bids"] else [0, "", 0, ""]
    told = {key: auction[key] for key in ("title", "count", "closed")} | {"price": price, "leader": leader}
    return {**told, "left": max(0.0, auction["ends"] - time.time()), "winner": leader if auction["closed"] else None}
