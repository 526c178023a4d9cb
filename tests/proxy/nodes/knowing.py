"""Nodes that know clients of a proxy that is no more."""

from contextlib import asynccontextmanager

from msgspec.structs import replace

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.orphans import COUNT, GIVE, LATE
from tests.harness import ScriptedNode, client_ids, websocket

PREFIX = 77
BOTH = ["open", "close"]


def client(number):
    return frames.Client((PREFIX << 32) + number, "websocket", "192.0.2.1:5", "/", [("host", "a")])


def due(number, reason="", came=False):
    return frames.Due(client(number), reason, came)


class Knower(ScriptedNode):
    """A node that knows clients of a proxy that is no more, and says so."""

    def __init__(self, proxy, *known, number=9, name="knower", takes=BOTH):
        super().__init__(proxy.node, name, takes=list(takes))
        self.known = {each.client.id: each for each in known}
        self.number = number
        self.fields = {}
        self.heard = {}

    @property
    def count(self):
        return sum(1 + each.came for each in self.known.values())

    def says(self, **fields):
        """More of its word: it is the same when it is asked for again."""
        self.fields = fields or self.fields
        self.say(frames.Orphaned(PREFIX, self.number, self.count, **self.fields))

    async def give(self, *ids):
        """What it is asked for. Returns the question; its word it says again as often as it is asked."""
        while (want := await self.take(frames.WantOrphans)).what == COUNT:
            self.says()
        if want.what == GIVE:
            asked = [self.known[id] for id in ids or self.known]
            given = [each for each in asked if want.kinds & ((CAME | LATE) if each.came else WENT)]
            self.say(frames.Orphans(PREFIX, given, 0 if given else self.count))
        return want

    async def done(self):
        call = await self.take(frames.Call)
        self.say(frames.Reply(call.id, call.attempt, b"", False))
        return call

    async def alive(self):
        """The proxy has what was said before."""
        self.say(frames.Heartbeat(1.0))
        await self.take(frames.Heartbeat)

    async def hears(self, client):
        """That somebody was told of a client: what is due yet."""
        while client not in self.heard:
            for change in (await self.take(frames.Changes)).changes:
                if isinstance(change, frames.Closed):
                    self.heard[change.client] = change.due
                    if not change.due:
                        self.known.pop(change.client, None)
                    elif change.client in self.known:
                        self.known[change.client] = replace(self.known[change.client], came=False)
        return self.heard.pop(client)


@asynccontextmanager
async def heirs(*nodes):
    """Ready, and there for long enough."""
    for node in nodes:
        await node.join()
    yield


def pack(*ids):
    return frames.pack_ids(list(ids))


async def heard_of(node):
    for change in (await node.take(frames.Changes)).changes:
        if isinstance(change, frames.Closed) and not change.due:
            node.known.pop(change.client, None)


async def comes_and_goes(proxy):
    async with websocket(proxy):
        await proxy.until(lambda: client_ids(proxy))
        (id,) = client_ids(proxy)
    await proxy.until(lambda: not client_ids(proxy))
    return id
