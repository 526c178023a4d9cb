"""Stories of subscriptions to Kuzzle's rooms: an entry of the state and a channel at a proxy, changed by several nodes.

What one node does to the channel comes late at the client's proxy, since the way between the two is cut; what it does
to the state comes at once.
"""

from collections.abc import Awaitable, Callable

import trio

from holdfast.kuzzle.memberships import Flush, Memberships
from holdfast.kuzzle.rooms import Subscription, channel_of, entry_key
from tests.sim.clients import Client
from tests.sim.nodes import EFFECT, SimNode, pack
from tests.sim.promises import nodes
from tests.sim.stories import members, soon, until
from tests.sim.world import World


class Scene:
    """A client, not at the keeper if there are several proxies, and two nodes: the change of the state comes where the
    effect does not."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = self._client()
        while not world.is_alone and self.client.proxy is members(world)[0]:
            self.client = self._client()
        self.proxy = self.client.proxy
        self.late, self.other = nodes(world)[:2]
        self.key = entry_key("room", self.client.id, "311")
        self.scopes: dict[SimNode, trio.CancelScope] = {}
        self.done: list[SimNode] = []

    def _client(self) -> Client:
        client = self.world.start_client()
        until(self.world, 5.0, lambda: client.is_linked, "it is connected")
        return client

    def enter(self, node: SimNode) -> None:
        self._spawn(node, lambda of: of.enter(self.key, Subscription("i", "c", []), lambda: False, self._taken(node)))

    def end(self, node: SimNode) -> None:
        self._spawn(node, lambda of: of.end([self.key], self._taken(node)))

    def end_as_master(self, node: SimNode) -> None:
        self._spawn(node, lambda of: of.end([self.key], trio.lowlevel.checkpoint))

    def _spawn(self, node: SimNode, change: Callable[[Memberships], Awaitable[None]]) -> None:
        async def run() -> None:
            memberships = Memberships(node.node)
            with trio.CancelScope() as self.scopes[node]:
                async with memberships.turn(self.client.id):
                    await change(memberships)
                self.done.append(node)

        node.spawn(run)

    def _taken(self, node: SimNode) -> Flush:
        """As request.flush: until each proxy has it that the node is linked with."""
        streams = node.node._parts.links.streams._streams

        async def flush() -> None:
            while any(each.session and (each.sent or each.waiting) for each in streams.values()):  # noqa: ASYNC110
                await trio.sleep(0.001)

        return flush

    def is_done(self, node: SimNode) -> None:
        soon(self.world, lambda: node in self.done)
        self.done.remove(node)

    def entered(self, node: SimNode) -> None:
        self.enter(node)
        self.is_done(node)

    def ended(self, node: SimNode) -> None:
        self.end(node)
        self.is_done(node)

    def cut(self) -> None:
        self.world.cut.add((self.late.id, self.proxy.id))

    def has_entry(self, node: SimNode) -> bool:
        return self.key in node.node.state

    def check(self, is_in: bool) -> None:
        self.world.mend()
        self.world.run(3.0)
        for node in self.world.nodes.values():
            assert self.has_entry(node) == is_in, "the entry"
        assert (self.proxy.app.channels.count(channel_of(self.key)) == 1) == is_in, "the channel"


def end_that_comes_late_undoes_no_later_subscription(world: World) -> None:
    """As the master, which waits for no proxy."""
    scene = Scene(world)
    scene.entered(scene.other)
    scene.cut()
    scene.end_as_master(scene.late)
    scene.is_done(scene.late)
    soon(world, lambda: not scene.has_entry(scene.other))
    scene.entered(scene.other)
    scene.check(True)


def join_that_comes_late_undoes_no_later_end(world: World) -> None:
    """Its request was cancelled, when another node had ended what it made."""
    scene = Scene(world)
    scene.cut()
    scene.enter(scene.late)
    soon(world, lambda: scene.has_entry(scene.other))
    scene.ended(scene.other)
    scene.late.do(scene.scopes[scene.late].cancel)
    scene.check(False)


def join_that_is_kept_undoes_no_later_end(world: World) -> None:
    """Its node has lost the session with the proxy, waits for nothing, and brings it in the next one."""
    scene = Scene(world)
    scene.cut()
    scene.enter(scene.late)
    soon(world, lambda: scene.has_entry(scene.other))
    until(world, 10.0, lambda: scene.late in scene.done, "nothing is waited for")
    scene.ended(scene.other)
    scene.check(False)


def end_that_is_kept_undoes_no_later_subscription(world: World) -> None:
    scene = Scene(world)
    scene.entered(scene.other)
    scene.cut()
    scene.end(scene.late)
    until(world, 10.0, lambda: scene.late in scene.done, "nothing is waited for")
    scene.entered(scene.other)
    scene.check(True)


def join_of_who_has_died_undoes_no_later_end(world: World) -> None:
    """It is on its way when its node dies, and another node ends the entry before it comes."""
    scene = Scene(world)
    scene.cut()
    scene.enter(scene.late)
    soon(world, lambda: scene.has_entry(scene.other))
    world.run(0.01)
    world.kill(scene.late.id)
    scene.ended(scene.other)
    scene.check(False)


def end_behind_much_else_undoes_no_later_subscription(world: World) -> None:
    """With one proxy: it is in the node's lane there, behind what goes to many channels; the state needs no lane."""
    scene = Scene(world)
    scene.entered(scene.other)
    scene.proxy.passes, scene.proxy.pause = 1, 0.1
    many = [f"room {number}" for number in range(300)]
    scene.late.spawn(lambda: scene.late.node.notify(pack([EFFECT, 0, 0]), channels=many))
    world.run(0.05)
    scene.end_as_master(scene.late)
    scene.is_done(scene.late)
    soon(world, lambda: not scene.has_entry(scene.other))
    assert scene.proxy.app.channels.count(channel_of(scene.key)), "it waits there"
    scene.entered(scene.other)
    scene.check(True)
