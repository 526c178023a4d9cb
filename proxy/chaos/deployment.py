"""What is tested: a proxy that we start, or one that runs already."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from protocols.errors import ConfigError
from proxy.chaos.processes import Process, Processes, wait_file
from proxy.cli.admin_client import AdminClient
from proxy.config import Config, is_loopback, load, split_address

START_PATIENCE = 30.0
OWN_ADDRESSES = ("client.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*", "admin.bind=127.0.0.1:0")


class Deployment(Struct):
    """proxy: None if it is not ours. node_address: where our nodes join, None if there are none of ours.

    config: the proxy's, if it is ours; else the defaults, which are as good a guess as any.
    """

    host: str
    port: int
    admin_url: str
    admin: AdminClient
    node_address: str | None
    node_environ: Mapping[str, str]
    config: Config
    proxy: Process | None

    @property
    def url(self) -> str:
        """For clients."""
        return f"ws://[{self.host}]:{self.port}/" if ":" in self.host else f"ws://{self.host}:{self.port}/"

    @property
    def is_local(self) -> bool:
        return is_loopback(urlsplit(self.admin_url).hostname or "")

    @property
    def patience(self) -> float:
        """How long after the last request everything must have been answered."""
        request = self.config.request
        return request.timeout + request.parked_timeout + 2.0


async def start_proxy(processes: Processes, file: Path | None, sets: Sequence[str]) -> Deployment:
    """A proxy of our own. sets: what stands above the file and the environment. Raises ConfigError, HoldfastError."""
    config = load(file, os.environ, sets).config
    if config.client.tls_certificate_file:
        raise ConfigError("the built-in clients speak plain WebSocket: leave client.tls_certificate_file empty")
    ready_file = processes.directory / "proxy.json"
    arguments = ["serve", "--ready-file", str(ready_file)]
    if file is not None:
        arguments += ["--config", str(file)]
    for one in sets:
        arguments += ["--set", one]
    proxy = processes.start("proxy", arguments)
    bound = json.loads(await wait_file(ready_file, proxy, START_PATIENCE))
    host, port = split_address(bound["client"])
    admin_url = f"http://{bound['admin']}"
    token = config.node.token
    return Deployment(
        host=host,
        port=port,
        admin_url=admin_url,
        admin=AdminClient(admin_url, config.admin.token),
        node_address=bound["node"],
        node_environ={"HOLDFAST_NODE_TOKEN": token} if token else {},
        config=config,
        proxy=proxy,
    )


def running(client: str, admin_url: str, token: str, node_address: str | None) -> Deployment:
    """One that runs already. client: HOST:PORT. Nodes' keys and token are from the environment (HOLDFAST_NODE_*)."""
    host, port = split_address(client)
    return Deployment(
        host=host,
        port=port,
        admin_url=admin_url,
        admin=AdminClient(admin_url, token),
        node_address=node_address,
        node_environ={},
        config=Config(),
        proxy=None,
    )
