"""Stories of a node that dies with a request whose effects some proxies have carried out, and one has not got.

Another node does them again, and nobody misses anything; or none does, and those who have missed it are closed. The
proxy of the first client can't be reached while the node does them, for longer than a heartbeat, so that the other
proxies know that it is owed, and for less than node.heartbeat_timeout, so that the node does not go on without it.
"""

from holdfast import HoldfastError
from tests.sim.clients import Client
from tests.sim.faults import heal
from tests.sim.promises import apart, nodes, publish
from tests.sim.proxies import SimProxy
from tests.sim.stories import soon, until
from tests.sim.world import World

ASKED = 999_001  # no client has so many requests


class Scene:
    """far: the proxy that is not reached. number: of the request, once it is asked."""

    def __init__(self, world: World, *, freezes: bool = False) -> None:
        self.world = world
        self.clients = apart(world, 9)
        self._at = {client: client.proxy for client in self.clients}
        self._books = {client: client.book for client in self.clients}
        self.far = self.clients[0].proxy
        self.asker = next(client for client in self.clients if client.proxy is not self.far)
        self.number = ASKED
        self._names = {node.name for node in nodes(world)}
        self._freezes = freezes

    @property
    def begun(self) -> list[str]:
        """The nodes that have begun with it."""
        return self.world.checks.begun.get(self.number, [])

    def cut(self) -> None:
        if self._freezes:
            self.world.freeze(self.far.id)
        else:
            self.world.part({node.id for node in nodes(self.world)}, {self.far.id})

    def ask(self, *what: object) -> None:
        self.number = self.asker.ask(*what)

    def heartbeat(self) -> None:
        """Others are told what is owed."""
        self.world.run(self.world.config.node.heartbeat_interval + 0.4)

    def mend(self) -> None:
        self.world.run(0.2)
        if self.far.is_frozen:
            self.world.thaw(self.far.id)
        self.world.mend()

    def stands_still(self) -> None:
        """A node has done what it was asked, but at one proxy, and waits for that."""
        self.cut()
        self.ask("tell", "red", [])
        self.heartbeat()
        assert self.number in self.asker.book.waiting

    def ends(self, *, without: SimProxy | Client | None = None, nobody_is_closed: bool = False) -> None:
        """All who were there have heard it, or have been closed, or nobody has heard it."""
        world = self.world
        books = [book for client, book in self._books.items() if without not in (client, self._at[client])]
        longest = world.config.request.timeout
        world.run(longest + 4.0)
        heard = [book for book in books if (self.number, 0) in book.effects]
        for book in books:
            assert not heard or book in heard or book.ended == "interrupted", "who has missed it is told"
            assert book.ended in ("", "interrupted")
        if nobody_is_closed:
            assert len(heard) == len(books)
            assert not any(book.ended for book in books), "nobody has missed anything"
        for name in self._names - {node.name for node in nodes(world)}:
            world.start_node(name)
        heal(world)


def done_again(world: World, *, freezes: bool = False) -> None:
    """By another node, for which the proxy is there again."""
    scene = Scene(world, freezes=freezes)
    scene.stands_still()
    world.kill(scene.begun[0])
    scene.mend()
    until(world, 4.0, lambda: scene.number in scene.asker.book.answers, "another node has answered it")
    scene.ends(nobody_is_closed=True)


def done_by_nobody(world: World) -> None:
    """All nodes die, and come back when the request has been given up."""
    scene = Scene(world)
    scene.stands_still()
    for node in nodes(world):
        world.kill(node.id)
    scene.mend()
    scene.ends()


def asker_has_left(world: World, *, before: bool) -> None:
    """The client that has asked leaves as the node dies, or a moment before."""
    scene = Scene(world)
    scene.stands_still()
    (node,) = scene.begun
    if before:
        scene.asker.leave(resets=True)
        world.run(0.3)
    world.kill(node)
    if not before:
        scene.asker.leave(resets=True)
    scene.mend()
    scene.ends(without=scene.asker)


def its_proxy_dies(world: World) -> None:
    """The proxy of the client that has asked dies with the node."""
    scene = Scene(world)
    scene.stands_still()
    home = scene.asker.proxy
    world.kill(scene.begun[0])
    world.kill(home.id)
    scene.mend()
    world.start_proxy(home.router)
    scene.ends(without=home)


def second_dies(world: World) -> None:
    """So does the node that has it next, and it is given to no third."""
    scene = Scene(world)
    scene.cut()
    scene.ask("tell", "red", [])
    soon(world, lambda: bool(scene.begun), "it has begun")
    world.kill(scene.begun[0])
    soon(world, lambda: len(scene.begun) == 2, "another one has it")
    scene.heartbeat()
    world.kill(scene.begun[1])
    scene.mend()
    scene.ends()


def second_does_nothing(world: World) -> None:
    """It knows that the request was there before, and takes it for done."""
    scene = Scene(world)
    scene.cut()
    scene.ask("once")
    scene.heartbeat()
    world.kill(scene.begun[0])
    scene.mend()
    scene.ends()
    assert scene.asker.book.ended or scene.asker.book.answers[scene.number] == b"done"


def home_is_not_reached(world: World) -> None:
    """The proxy of the client that has asked is the one that is not reached: the others have done it, and the reply is
    under way when the client leaves and the node dies."""
    scene = Scene(world)
    scene.asker = scene.clients[0]
    scene.ask("late")
    soon(world, lambda: bool(scene.begun), "it has begun")
    scene.cut()
    scene.heartbeat()
    scene.asker.leave(resets=True)
    world.run(0.05)
    world.kill(scene.begun[0])
    scene.mend()
    scene.ends(without=scene.asker)


def asked_by_a_node(world: World) -> None:
    """What one node asks another by its id goes to no third."""
    scene = Scene(world)
    asker, asked = nodes(world)[:2]

    async def ask() -> None:
        try:
            await asker.node.ask(asked.name, ASKED, timeout=2.0)
        except HoldfastError as error:
            world.note(asker.id, "is told", error)

    scene.cut()
    asker.spawn(ask)
    scene.heartbeat()
    world.kill(asked.id)
    scene.mend()
    scene.ends()


def nobody_is_there_for_it(world: World) -> None:
    """The proxy that has not got it has nobody in the channel, which the first node did not know, and the next one
    does: that does it nowhere else, and nobody has missed anything."""
    scene = Scene(world)
    second = nodes(world)[1]
    publish(world, second, 3, "violet")
    world.run(0.5)
    for node in nodes(world)[2:]:
        world.kill(node.id)
    scene.cut()
    scene.ask("tell", "violet", [])
    soon(world, lambda: bool(scene.begun), "it has begun")
    scene.heartbeat()
    world.kill(scene.begun[0])
    scene.mend()
    books = [client.book for client in scene.clients]
    scene.ends()
    assert not any(book.ended for book in books)
