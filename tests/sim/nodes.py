"""A simulated node: holdfast.Node, all of it, and an author who makes use of it.

What the author does is such that the others can tell what must come of it: publications are numbered by run of the node
and channel, effects of a request bear its number, what a master says bears its epoch.
"""

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from msgspec import msgpack

from holdfast import (
    NO_REPLY,
    Client,
    HoldfastError,
    LinkRefused,
    Node,
    NoReply,
    PublishRequest,
    Question,
    Reply,
    Request,
    StateError,
    SubscribeRequest,
)
from holdfast.node import effects, node
from holdfast.node.clients import UNKNOWN
from holdfast.node.stream import NOWHERE, Effective, Origin
from holdfast.node.streams import Concerned, Sent, Streams
from holdfast.protocols.nodes.frames import Notify
from tests.sim.doormen import CAME, WENT
from tests.sim.process import Process

if TYPE_CHECKING:
    from tests.sim.proxies import SimProxy
    from tests.sim.world import World

CHANNELS = ("red", "green", "blue")
OF_MASTER = "master's"
TELLING = 0.1  # seconds that it takes to be told that a client came, or went
# What a notification is, by its first item.
PUBLISHED, DIRECT, EFFECT, MASTERS = range(4)
# What a node was told of a client last. One of an unknown end was given up with its proxy, which may come back.
OPEN, CLOSED = "open", "closed"

pack = msgpack.encode


class SimNode(Process):
    """One run of a node.

    published: channel: the number of the last publication that has begun. numbered: by proxy and
    channel, of those that went to it at once, the number of the effects. told: clients, as on_open and on_close say.
    """

    def __init__(self, world: "World", name: str, number: int, rate: float | None) -> None:
        super().__init__(world, f"{name}#{number}", rate)
        self.name = name
        self.is_draining = False
        # It counts from when it looked last, which may be so long before the last sign.
        self._patience = 0.99 * (node.FORGET_TIMEOUT - node.HOUSEKEEPING_INTERVAL) / self.clock.rate
        self._vouched_at: dict[str, float] = {}  # proxy: when its own link, or another proxy, last said it lives
        self._gave_up_at: dict[str, float] = {}
        self._met: set[str] = set()  # proxies for which it has kept something
        self.burst = 0  # publications that come at once the next time
        self.orders = 1  # what it says as master at once, each second
        self.beside: list[str] = []  # channels to which it says that as well, with nobody in them: it takes time
        self.published: dict[str, int] = {}
        self.numbered: dict[tuple[str, str], dict[int, int]] = {}
        self.directed: dict[int, int] = {}
        self.mastered: dict[int, int] = {}
        self._order = trio.Lock()
        self.told: dict[int, str] = {}
        self.node = ours = Node(name, id=name, capacity=16, token=world.config.node.token, drain_timeout=2.0)
        ours.on_request(self._handle)
        self.knows_clients = world.random.random() < 0.7  # else it is not told who comes and goes
        if self.knows_clients:
            ours.on_open(self._opened, inline=True)
            ours.on_close(self._closed, inline=True)
        self.is_doorman = world.has_doormen and number % 3 > 0  # told once of clients
        if self.is_doorman:
            ours.on_open(self._came, once=True)
            ours.on_close(self._went, once=True)
        ours.on_master(self._lead)
        ours.on_ask(self._asked)
        if world.has_subscribers:
            ours.on_subscribe("asked:{name}")(self._may_subscribe)
            ours.on_publish("*")(self._client_publishes)

    async def main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._run)

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.node.run, self.world.seeds)
            self._watch(self.node._parts.links.streams)
            if self.world.is_busy:
                self._nursery.start_soon(self._publish)
        self._nursery.cancel_scope.cancel()

    def _watch(self, streams: Streams) -> None:
        """Let the world see to which proxies effects of requests are sent before the reply."""
        send = streams.send

        def sent(effects: Sequence[Effective], origin: Origin = NOWHERE, to: Concerned | None = None) -> list[Sent]:
            notified = [msgpack.decode(effect.payload) for effect in effects if isinstance(effect, Notify)]
            if origin.request and to is not None:
                for what in notified:
                    self.world.checks.sends(self.id, what, to[0])
            sends = send(effects, origin, to)
            for what in notified:
                for stream, number in sends if what[0] == PUBLISHED else ():
                    proxy = next(proxy for proxy, each in streams._streams.items() if each is stream)
                    self.numbered.setdefault((proxy, what[2]), {})[what[3]] = number
            return sends

        streams.send = sent  # type: ignore[method-assign]

    @property
    def owes(self) -> list[tuple["SimProxy", "SimProxy", int]]:
        """By whose word it owes whom, and up to which number: what has come of its own."""
        proxies = self.world.proxies
        known = [(p, p.app.directory.nodes.get(self.name)) for p in proxies.values() if p.is_up]
        owes = [(p, node.owes) for p, node in known if node is not None and node.incarnation == self.incarnation]
        return [(p, proxies[owed], n) for p, told in owes for owed, n in told if owed in proxies and owed != p.id]

    def ended(self, error: BaseException | None) -> None:
        self.world.gone(self)
        self.world.note(self.id, "ends", error)
        if isinstance(error, LinkRefused):  # a word of its former run came late, and had its id taken from it
            self.world.later(0.5, self.world.start_node, self.name)
        elif error is not None and not (self.is_draining and isinstance(error, HoldfastError)):
            self.world.checks.crashed(self.id, "the node ends", error)

    def stepped(self) -> None:
        self.world.checks.acted(self)
        parts = self.node._parts
        for proxy in parts.links.streams._streams.keys() - self._met:
            self._met.add(proxy)
            self.world.checks.meetings.meets(self, proxy)
        now, vouched_at = self.world.time, self._vouched_at
        for proxy in (*parts.links.sessions, *parts.clients._listed):
            if now - vouched_at.get(proxy, now) > self._patience:
                self._gave_up_at[proxy] = now
            vouched_at[proxy] = now

    # --- what is looked at --------------------------------------------------------------------------------------------

    @property
    def incarnation(self) -> int:
        return self.node._parts.hello().incarnation

    def acts_until(self) -> float:
        """When it stops to act as master, by the world's time. A frozen process counts: it might go on in the middle of
        anything before it looks at the clock."""
        mastership = self.node._parts.mastership
        if not mastership.is_elected or mastership._is_stopped or not self.is_alive:
            return -inf
        return self.clock.to_world(mastership._leases.end)

    def gave_up_at(self, proxy: str) -> float:
        """When it had for the last time been without a sign of that proxy for so long that it gives up its clients."""
        now = self.world.time
        if now - self._vouched_at.get(proxy, now) > self._patience:
            return now
        return self._gave_up_at.get(proxy, -inf)

    @property
    def was_ready(self) -> bool:
        """Whether some proxy has given it all that there is."""
        return self.node._parts.links.is_ready.is_set()

    @property
    def position(self) -> tuple[int, int]:
        return self.node._parts.replica.view.position

    def items(self) -> dict[str, bytes]:
        return {key: item.value for key, item in self.node._parts.replica.view.items.items()}

    # --- what is done to it -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """SIGTERM."""
        self.world.note(self.id, "drains")
        self.is_draining = True
        self.do(self.node.drain)

    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Let it do something more."""
        self.do(self._nursery.start_soon, function, *arguments)

    def start_set(self, key: str, number: int) -> None:
        """Let it set a key of the state. The world knows of it at once."""
        self.world.checks.sets(key, number)
        self.spawn(self._set, key, number)

    async def _set(self, key: str, number: int) -> None:
        try:
            version = await self.node.state.set(key, number)
        except StateError as error:
            self.world.note(self.id, "has not set", key, number, error)
        else:
            self.world.checks.was_set(self, key, number, version)

    # --- the author ---------------------------------------------------------------------------------------------------

    def _opened(self, client: Client) -> None:
        if self.told.get(client.id, UNKNOWN) is not UNKNOWN:
            self.world.checks.fail("N1, a client is told as opened once", self.id, client.id)
        self.told[client.id] = OPEN

    def _closed(self, client: Client, reason: str) -> None:
        if self.told.get(client.id) is not OPEN:
            self.world.checks.fail("N1, a client is told as closed once, after it was opened", self.id, client.id)
        self.world.checks.closed(self, client.id)
        self.told[client.id] = UNKNOWN if reason == UNKNOWN else CLOSED

    async def _came(self, client: Client) -> None:
        self.world.doormen.begins(self, CAME, client)
        await trio.sleep(TELLING)
        self.world.doormen.ends(CAME, client)

    async def _went(self, client: Client, reason: str) -> None:
        self.world.doormen.begins(self, WENT, client)
        await trio.sleep(TELLING)
        self.world.doormen.ends(WENT, client)

    async def _publish(self) -> None:
        random = self.world.random
        while True:
            await trio.sleep(random.expovariate(1.0))
            if not self.world.is_busy:
                return
            channel = random.choice(CHANNELS)
            count, self.burst = self.burst or random.choice((1, 1, 1, 2, 5)), 0
            try:
                for _ in range(count):
                    await self.notify(channel)
                clients = list(self.node.clients) if self.knows_clients else self.world.client_ids()
                if clients and random.random() < 0.5:
                    await self._direct(random.choice(clients))
            except HoldfastError:
                if self.node._parts.links.gate._is_running:
                    raise
                return  # it has drained just now, and says so

    async def notify(self, channel: str) -> None:
        """Publish, and have the world know of it. In order, whoever else does: it may have to wait."""
        async with self._order:
            await self._say(self.published, channel, [PUBLISHED, self.id, channel], channels=[channel])

    async def _say(self, numbers: dict[Any, int], key: Any, what: list[Any], **to: Any) -> None:
        """Notify, with the next number. If it raises, nothing was sent."""
        number = numbers[key] = numbers.get(key, 0) + 1
        try:
            await self.node.notify(pack([*what, number]), **to)
        except BaseException:
            numbers[key] -= 1
            raise

    async def _direct(self, client: int) -> None:
        await self._say(self.directed, client, [DIRECT, self.id, client], clients=[client])

    async def _lead(self) -> None:
        while True:
            epoch = self.node.epoch
            for _ in range(self.orders):
                await self._say(self.mastered, epoch, [MASTERS, self.id, epoch], channels=[OF_MASTER, *self.beside])
            await trio.sleep(1.0)

    async def _handle(self, request: Request) -> Any:
        number, kind, *arguments = msgpack.decode(request.payload)
        self.world.checks.begins(self, number, request)
        return await getattr(self, f"_on_{kind}")(request, number, *arguments)

    async def _on_echo(self, request: Request, number: int) -> bytes:
        return b"echo"

    async def _on_die(self, request: Request, number: int) -> bytes:
        """The end of whatever node gets it, but while nothing may go wrong."""
        world = self.world
        if world.time >= world.quiet_until:
            world.later(0.0, world.kill, self.id)
            world.later(world.random.uniform(0, 4), world.start_node, self.name)
            await trio.sleep_forever()
        return b"lives"

    async def _on_slow(self, request: Request, number: int, seconds: float) -> bytes:
        await trio.sleep(seconds)
        return b"slow"

    async def _on_join(self, request: Request, number: int, channel: str) -> bytes:
        await self.node.join(request.client, channel)
        return b"joined"

    async def _on_leave(self, request: Request, number: int, channel: str) -> NoReply:
        await self.node.leave(request.client, channel)
        return NO_REPLY

    async def _on_tell(self, request: Request, number: int, channel: str, others: list[int]) -> bytes:
        """Effects that ride with the reply: to a channel, and to clients of several proxies."""
        await self.node.notify(pack([EFFECT, number, 0]), channels=[channel])
        await self.node.notify(pack([EFFECT, number, 1]), clients=others)
        return self.id.encode()

    async def _on_once(self, request: Request, number: int) -> bytes:
        """Nothing, if it was there before."""
        if not request.redelivered:
            await self.node.notify(pack([EFFECT, number, 0]), channels=["red"])
        return b"done"

    async def _on_late(self, request: Request, number: int) -> bytes:
        await trio.sleep(0.1)
        return await self._on_once(request, number)

    async def _asked(self, question: Question) -> bytes:
        await self.node.notify(pack([EFFECT, question.json(), 0]), channels=["red"])
        return b"done"

    async def _on_kick(self, request: Request, number: int, client: int) -> bytes:
        """Last words, to all and to one, then the end: in this order."""
        await self.node.broadcast(pack([EFFECT, number, 0]))
        await self.node.notify(pack([EFFECT, number, 1]), clients=[client])
        await self.node.close(client, "kicked")
        return b"kicked"

    async def _on_bad(self, request: Request, number: int) -> bytes:
        """Effects that no proxy can read: packed ids have eight bytes each."""
        await effects.put(self.node._parts.links, Notify(b"", False, [], b"bad"))
        return b"done"

    async def _on_stream(self, request: Request, number: int, parts: int) -> Reply:
        async def body() -> Any:
            for part in range(parts):
                yield pack(part)

        return Reply(body())

    async def _may_subscribe(self, request: SubscribeRequest, name: str) -> bool:
        random = self.world.random
        if random.random() < 0.3:
            await trio.sleep(random.uniform(0.0, 0.5))
        return random.random() < 0.9

    async def _client_publishes(self, request: PublishRequest) -> None:
        if self.world.random.random() < 0.2:
            await trio.sleep(self.world.random.uniform(0.0, 0.3))

    async def _on_set(self, request: Request, number: int, key: str) -> bytes:
        self.world.checks.sets(key, number)
        await self._set(key, number)
        return b"set"

    async def _on_count(self, request: Request, number: int) -> bytes:
        """One more, by compare-and-set."""
        checks = self.world.checks
        checks.counting += 1
        await self.node.state.update("counter", lambda value: value + 1, default=0)
        checks.counted += 1
        return b"counted"

    async def _on_delete(self, request: Request, number: int, key: str) -> bytes:
        await self.node.state.delete(key)
        return b"deleted"

    async def _on_own(self, request: Request, number: int, key: str) -> bytes:
        await self.node.state.set(key, number, owner=request.client)
        return b"owned"
