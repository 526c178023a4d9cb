"""Centrifuge's own Python client against a proxy: steps, told on stdout as they pass."""

import asyncio  # noqa: TID251 - the client is of it
import json
import os
import sys
import time

import jwt
from centrifuge import (
    Client,
    ClientEventHandler,
    ConnectedContext,
    ConnectingContext,
    DisconnectedContext,
    ErrorContext,
    ReplyError,
)

ADDRESS = sys.argv[1]
PATIENCE = 10.0


def token(sub: str, seconds: float) -> str:
    return jwt.encode({"sub": sub, "exp": time.time() + seconds}, os.environ["JWT_SECRET"], "HS256")


class Events(ClientEventHandler):
    """What has come, in order."""

    def __init__(self) -> None:
        self.connected: asyncio.Queue[ConnectedContext] = asyncio.Queue()
        self.connecting: asyncio.Queue[ConnectingContext] = asyncio.Queue()
        self.disconnected: asyncio.Queue[DisconnectedContext] = asyncio.Queue()
        self.errors: asyncio.Queue[ErrorContext] = asyncio.Queue()

    async def on_connected(self, ctx: ConnectedContext) -> None:
        self.connected.put_nowait(ctx)

    async def on_connecting(self, ctx: ConnectingContext) -> None:
        self.connecting.put_nowait(ctx)

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:
        self.disconnected.put_nowait(ctx)

    async def on_error(self, ctx: ErrorContext) -> None:
        self.errors.put_nowait(ctx)


def step(name: str) -> None:
    print(json.dumps({"step": name}), flush=True)


async def refusal(call: object) -> ReplyError:
    try:
        said = await call  # type: ignore[misc]
    except ReplyError as error:
        return error
    raise AssertionError(f"expected an error, got {said}")


async def main() -> None:
    events = Events()
    ada = Client(ADDRESS, events=events, token=token("ada", 600), data={"view": 1}, name="py")
    await ada.connect()
    told = await events.connected.get()
    who = (await ada.rpc("who", None)).data
    assert (who["id"], who["user"], json.loads(who["data"]), who["name"]) == (told.client, "ada", {"view": 1}, "py"), (
        who
    )
    step("connect")

    for value in ({"a": [1, "é\n"]}, [], 0, "", "text", None, True):
        assert (await ada.rpc("echo", value)).data == value
    assert await asyncio.gather(*(ada.rpc("echo", n) for n in range(100)))
    error = await refusal(ada.rpc("fail", 409))
    assert (error.code, error.temporary) == (409, False)
    assert (await refusal(ada.history("c"))).code == 108
    assert (await refusal(ada.presence("c"))).code == 108
    step("rpc")

    asked: asyncio.Queue[None] = asyncio.Queue()

    async def get_token() -> str:
        asked.put_nowait(None)
        return token("eve", 3)

    eve_events = Events()
    eve = Client(ADDRESS, events=eve_events, token=token("eve", -60), get_token=get_token, min_reconnect_delay=0.05)
    await eve.connect()
    told = await eve_events.connected.get()
    for _ in range(5):  # of 3 s each: the first is long over
        await asked.get()
    assert (await eve.rpc("who", None)).data["id"] == told.client
    assert eve_events.disconnected.empty()
    await eve.disconnect()
    step("a token is refreshed on the open connection")

    kim_events = Events()
    kim = Client(ADDRESS, events=kim_events, token=token("kim", 600), min_reconnect_delay=0.05)
    await kim.connect()
    await kim_events.connected.get()
    await kim_events.connecting.get()
    kim_call = asyncio.ensure_future(kim.rpc("leave", 4100))
    assert (await kim_events.connecting.get()).code == 4100
    await kim_events.connected.get()
    kim_call.cancel()  # the client does not end what had no reply when its connection did
    kim_call = asyncio.ensure_future(kim.rpc("leave", None))
    assert (await kim_events.disconnected.get()).code == 3503
    kim_call.cancel()  # the client does not end what had no reply when its connection did
    step("closed by a node")
    await ada.disconnect()


asyncio.run(asyncio.wait_for(main(), 6 * PATIENCE))
