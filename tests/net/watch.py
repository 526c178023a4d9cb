"""What the proxies say of themselves, asked all the while from a host that no partition touches."""

import time
from collections.abc import Callable, Mapping

import msgspec
import trio

from holdfast.proxy.views import StatusView
from tests.net.hosts import Host

INTERVAL = 0.05
TIMEOUT = 1.0
TOKEN = "operator"


class Watch:
    """views: the latest of each proxy, by its name; None: it does not answer. fenced: those that ever said so."""

    def __init__(self, host: Host, proxies: Mapping[str, tuple[str, int]]) -> None:
        self._host = host
        self._proxies = proxies
        self._changed = trio.Event()
        self.views: dict[str, StatusView | None] = dict.fromkeys(proxies)
        self.fenced: set[str] = set()

    async def run(self) -> None:
        """Task."""
        async with trio.open_nursery() as nursery:
            for name in self._proxies:
                nursery.start_soon(self._ask, name)

    async def _ask(self, name: str) -> None:
        while True:
            body = await self.get(name, "/api/status")
            self.views[name] = view = None if body is None else msgspec.json.decode(body, type=StatusView)
            if view is not None and view.cluster is not None and view.cluster.fenced:
                self.fenced.add(name)
            self._changed.set()
            self._changed = trio.Event()
            await trio.sleep(INTERVAL)

    async def until(self, condition: Callable[[], bool], what: Callable[[], object], patience: float) -> float:
        """Wait until it holds, by what the proxies say. When it did, by the monotonic clock."""
        with trio.move_on_after(patience):
            while not condition():
                await self._changed.wait()
            return time.monotonic()
        raise AssertionError(f"not within {patience:g} s: {what()}")

    async def clients(self, name: str) -> set[int]:
        """The ids of a proxy's clients."""
        body = await self.get(name, "/api/clients?limit=1000")
        assert body is not None, f"{name} does not answer"
        return {int(client["id"], 16) for client in msgspec.json.decode(body)["clients"]}

    async def count(self, name: str, channel: str) -> int | None:
        """Members of a channel in the whole cluster, by one proxy's word. None: it did not answer in time."""
        body = await self.get(name, f"/api/channels/{channel}")
        if body is None:
            return None
        return int(msgspec.json.decode(body)["count"])

    async def get(self, name: str, path: str) -> bytes | None:
        """The body of the answer; None without one."""
        address = self._proxies[name]
        with self._host.inside():
            client = trio.socket.socket()
        answer = b""
        with client, trio.move_on_after(TIMEOUT) as limit:
            try:
                await client.connect(address)
                await client.send(
                    f"GET {path} HTTP/1.1\r\nHost: {address[0]}\r\nAuthorization: Bearer {TOKEN}\r\n"
                    f"Connection: close\r\n\r\n".encode()
                )
                while data := await client.recv(65536):
                    answer += data
            except OSError:
                return None
        head, _, body = answer.partition(b"\r\n\r\n")
        return None if limit.cancelled_caught or b" 200 " not in head.splitlines()[0] + b" " else body
