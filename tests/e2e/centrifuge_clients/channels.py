"""Centrifuge's own Python client: it subscribes, publishes, and comes back."""

import asyncio  # noqa: TID251 - the client is of it
import json
import os
import sys
import time
from collections.abc import Awaitable

import jwt
from centrifuge import (
    Client,
    PublicationContext,
    ReplyError,
    SubscribedContext,
    SubscriptionEventHandler,
    SubscriptionState,
    UnsubscribedContext,
)

ADDRESS = sys.argv[1]
PATIENCE = 10.0


def token(sub: str, seconds: float, **more: object) -> str:
    return jwt.encode({"sub": sub, "exp": time.time() + seconds, **more}, os.environ["JWT_SECRET"], "HS256")


class Events(SubscriptionEventHandler):
    def __init__(self) -> None:
        self.subscribed: asyncio.Queue[SubscribedContext] = asyncio.Queue()
        self.unsubscribed: asyncio.Queue[UnsubscribedContext] = asyncio.Queue()
        self.publications: asyncio.Queue[PublicationContext] = asyncio.Queue()

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        self.subscribed.put_nowait(ctx)

    async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
        self.unsubscribed.put_nowait(ctx)

    async def on_publication(self, ctx: PublicationContext) -> None:
        self.publications.put_nowait(ctx)


def step(name: str) -> None:
    print(json.dumps({"step": name}), flush=True)


async def refusal(call: Awaitable[object]) -> ReplyError:
    try:
        said = await call
    except ReplyError as error:
        return error
    raise AssertionError(f"expected an error, got {said}")


async def main() -> None:
    ada, bob = (Client(ADDRESS, token=token(name, 600)) for name in ("ada", "bob"))
    await ada.connect()
    await bob.connect()

    events, others = Events(), Events()
    room = ada.new_subscription("room:5", events=events, data={"a": "ü"})
    await room.subscribe()
    assert (await events.subscribed.get()).data == {"room": 5, "said": {"a": "ü"}}
    await bob.new_subscription("room:5", events=others).subscribe()
    await others.subscribed.get()
    refused = Events()
    await ada.new_subscription("room:10", events=refused).subscribe()
    told = await refused.unsubscribed.get()
    assert (told.code, told.reason) == (404, "no such room"), told
    step("a node lets it subscribe, or not")

    await room.publish("hello")
    for each in (events, others):
        got = (await each.publications.get()).pub
        assert (got.data, got.info.user) == ({"room": 5, "text": "hello"}, "ada"), got
    error = await refusal(room.publish("bad"))
    assert (error.code, error.temporary) == (422, False)
    step("what one publishes others get, with who it was")

    asked: asyncio.Queue[None] = asyncio.Queue()

    async def get_token(channel: str) -> str:
        asked.put_nowait(None)
        return token("ada", 3, channel=channel)

    signed_events = Events()
    signed = ada.new_subscription("signed:1", events=signed_events, get_token=get_token)
    await signed.subscribe()
    await signed_events.subscribed.get()
    for _ in range(5):  # of 3 s each: the first is long over
        await asked.get()
    assert signed.state is SubscriptionState.SUBSCRIBED
    assert signed_events.unsubscribed.empty()
    step("a token lets it subscribe, and a new one puts off the end")

    log_events, got = Events(), []
    await ada.new_subscription("log:1", events=log_events).subscribe()
    await log_events.subscribed.get()
    for number in range(3):
        await bob.rpc("notify", {"channel": "log:1", "numbers": [2 * number]})
        got.append((await log_events.publications.get()).pub)
        await ada.disconnect()
        await bob.rpc("notify", {"channel": "log:1", "numbers": [2 * number + 1]})
        await ada.connect()
        again = await log_events.subscribed.get()
        assert (again.was_recovering, again.recovered) == (True, True), again
        got.append((await log_events.publications.get()).pub)
    assert [(each.data, each.offset) for each in got] == [(n, n + 1) for n in range(6)], got
    step("what it has missed it gets when it comes back")
    await ada.disconnect()
    await bob.disconnect()


asyncio.run(asyncio.wait_for(main(), 6 * PATIENCE))
