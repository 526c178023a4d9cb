"""A proxy and nodes with a Kuzzle API, all in the test's process, and clients that speak its JSON."""

import json
from contextlib import asynccontextmanager
from itertools import count

import httpx
import trio

from holdfast import Node
from holdfast.kuzzle import Api
from tests.harness import running, websocket
from tests.waiting import PATIENCE

SECRET = "of the tests"


def full_api(node: Node) -> Api:
    """All that is ready made."""
    api = Api(node)
    api.realtime()
    api.documents()
    api.local_auth({"ada": "lovelace"}, secret=SECRET)
    return api


class World:
    """nodes, apis: in the order they joined; the first one is master, while nothing has stood still for long."""

    def __init__(self, proxy, nodes: list[Node], apis: list[Api], scopes: list[trio.CancelScope]) -> None:
        self.proxy = proxy
        self.nodes = nodes
        self.apis = apis
        self._scopes = scopes

    def elect(self) -> None:
        """From now on there may be a master."""
        self.proxy.app.cluster.mastership.grants.joined()

    def kill(self, node: int) -> None:
        """As SIGKILL: its sockets close, and nothing is said."""
        self._scopes[node].cancel()

    @asynccontextmanager
    async def client(self):
        async with websocket(self.proxy) as socket:
            yield Client(socket)

    @asynccontextmanager
    async def http(self):
        async with httpx.AsyncClient(base_url=f"http://{self.proxy.client}") as client:
            yield client


class Client:
    """`ask` returns the response; what comes in between are notifications, for `told`."""

    def __init__(self, socket) -> None:
        self._socket = socket
        self._ids = count(1)
        self._told: list[dict] = []

    async def ask(self, controller: str, action: str, **more) -> dict:
        id = f"q{next(self._ids)}"
        await self.send(json.dumps({"controller": controller, "action": action, "requestId": id, **more}))
        with trio.fail_after(PATIENCE):
            while True:
                message = await self.receive()
                if message.get("requestId") == id and "room" in message and message["room"] == id:
                    return message
                self._told.append(message)

    async def result(self, controller: str, action: str, **more):
        response = await self.ask(controller, action, **more)
        assert response["status"] == 200, response["error"]
        return response["result"]

    async def refusal(self, controller: str, action: str, **more) -> tuple[str, int]:
        response = await self.ask(controller, action, **more)
        assert response["result"] is None
        assert response["error"]["status"] == response["status"]
        return response["error"]["id"], response["status"]

    async def told(self) -> dict:
        """The next notification."""
        with trio.fail_after(PATIENCE):
            return self._told.pop(0) if self._told else await self.receive()

    async def told_nothing(self) -> bool:
        """Whether no notification is here, or comes before the answer to another request."""
        await self.ask("server", "publicApi")
        return not self._told

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    async def receive(self) -> dict:
        return json.loads(await self._socket.recv())


@asynccontextmanager
async def kuzzle(nodes: int = 1, make=full_api, *, elected=True, **sections):
    """elected: wait until there is a master; else there is none before `elect`. sections: of the configuration."""
    sections.setdefault("election", {"lease": 0.5 if elected else 600.0})
    sections.setdefault("node", {"heartbeat_interval": 0.1})
    async with running(**sections) as proxy, trio.open_nursery() as nursery:
        made = [Node("kuzzle", capacity=64, clients=True) for _ in range(nodes)]
        apis = [make(node) for node in made]
        scopes = []
        for node in made:
            with trio.fail_after(PATIENCE):
                scopes.append(await nursery.start(_run, node, proxy.node))
        if elected:
            # The first one, but where the machine has stood still for longer than its lease.
            await proxy.until(lambda: any(node.is_master for node in made), "a node to be master")
        yield World(proxy, made, apis, scopes)
        nursery.cancel_scope.cancel()


async def _run(node: Node, address: str, *, task_status) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run, [address])
            task_status.started(scope)
