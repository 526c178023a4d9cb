"""docker-compose.yml without containers: every service's own command as a process of this machine.

What a container would have of its own is replaced: its address by loopback, fixed ports by free ones, the names of
services by where they are. Nothing else of a command is.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml
from websockets.sync.client import connect

from tests.redis_servers import RedisServer, free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
BALANCER = (ROOT / "docker" / "haproxy.cfg").read_text(encoding="utf-8")
PATIENCE = 60.0
PROXIES = NODES = 3


def until(condition, what):
    """What is awaited happens in other processes, so there is no event to wait for."""
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.02)
    return result


class Containers:
    """The processes, and where they are. Ended by their pids."""

    def __init__(self, directory):
        self.directory = directory
        self.processes = []
        self.redis = RedisServer(directory / "redis")
        self.proxies = []  # (process, what its ready file says)
        self.nodes = []
        self.balancer = None

    def run(self, service, name, replaced, *more, **environ):
        """A service of ours. replaced: what its container would have, and where that is here."""
        command = SERVICES[service]["command"]
        for theirs, ours in replaced.items():
            assert theirs in command, f"{theirs} is not in the command of {service}"
            command = command.replace(theirs, ours)
        variables = dict.fromkeys(SERVICES[service]["environment"], "a secret")
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", *shlex.split(command), *more],
                cwd=ROOT,
                env={**os.environ, **variables, **environ},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def start_proxies(self):
        replaced = {
            "0.0.0.0:7512": "127.0.0.1:0",
            "tcp://[_site_:ipv4]:7510": "tcp://[lo:ipv4]:*",
            "tcp://[_site_:ipv4]:7511": "tcp://[lo:ipv4]:*",
            "redis://redis:6379": self.redis.url,
        }
        started = []
        for number in range(PROXIES):
            ready = self.directory / f"ready-{number}"
            more = ("--ready-file", str(ready))
            process = self.run("proxy", f"proxy-{number}", replaced, *more, HOLDFAST__ADMIN__BIND="127.0.0.1:0")
            started.append((process, ready))
        for process, ready in started:
            until(lambda: ready.exists() or process.poll() is not None, "a proxy to serve")  # noqa: B023 - called here
            assert process.poll() is None, (self.directory / "proxy-0.log").read_text()
            self.proxies.append((process, json.loads(ready.read_text())))

    def start_nodes(self):
        address = self.proxies[0][1]["node"]  # what the name `proxy` may stand for
        for number in range(NODES):
            self.nodes.append(self.run("node", f"node-{number}", {"tcp://proxy:7510": address}))

    def start_balancer(self):
        self.balancer = f"127.0.0.1:{free_port()}"
        servers = "".join(f"    server proxy{n} {ready['client']}\n" for n, (_, ready) in enumerate(self.proxies))
        rules = BALANCER.replace("bind :7512", f"bind {self.balancer}")
        rules, count = re.subn(r"^    server-template .*\n", servers, rules, flags=re.MULTILINE)
        assert count == 1
        file = self.directory / "haproxy.cfg"
        file.write_text(rules)
        with (self.directory / "haproxy.log").open("wb") as log:
            process = subprocess.Popen(["haproxy", "-db", "-f", file], stdout=log, stderr=log)
        self.processes.append(process)
        until(lambda: get(self.balancer, "/") is not None or process.poll() is not None, "the balancer")
        assert process.poll() is None, (self.directory / "haproxy.log").read_text()

    def end(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.redis.stop()


@contextmanager
def up(directory):
    containers = Containers(directory)
    try:
        containers.redis.start()
        containers.start_proxies()
        containers.start_nodes()
        yield containers
    finally:
        containers.end()


def get(address, path):
    """Status, and JSON of a good one; None while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
            return answer.status, json.load(answer) if "json" in answer.headers["Content-Type"] else None
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return None


def is_healthy(ready):
    """By the health check of the file, in its own words."""
    [kind, *command] = SERVICES["proxy"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert command[0] == "python"
    command = [argument.replace("127.0.0.1:7513", ready["admin"]) for argument in command[1:]]
    return subprocess.run([sys.executable, *command], stderr=subprocess.DEVNULL, timeout=PATIENCE).returncode == 0


def counts(containers):
    """How many proxies each proxy knows of."""
    return [get(ready["client"], "/_plugin/cluster/status")[1]["count"] for _, ready in containers.proxies]


def joined(containers):
    """How many clients are in the kitchen, by what each proxy knows of all."""
    return {get(ready["admin"], "/api/channels/%2Fkitchen")[1]["count"] for _, ready in containers.proxies}


def test_what_is_up_is_one_cluster(tmp_path):
    with up(tmp_path) as containers, ExitStack() as clients:
        for _, ready in containers.proxies:
            assert is_healthy(ready)
            assert until(
                lambda: (answer := get(ready["client"], "/_plugin/cluster/health")) == (200, "ok") and answer,  # noqa: B023
                "health",
            )
        assert counts(containers) == [PROXIES] * PROXIES
        (_, first), (killed, second), (_, third) = containers.proxies
        rooms = [clients.enter_context(connect(f"ws://{one['client']}/kitchen")) for one in (first, second, third)]
        until(lambda: joined(containers) == {3}, "all to have joined")
        rooms[0].send("hello")
        for client in rooms:  # wherever they are
            assert client.recv(PATIENCE).endswith(": hello")
        killed.kill()
        killed.wait()
        containers.proxies.pop(1)
        assert not is_healthy(second)
        until(lambda: counts(containers) == [2, 2], "the dead to be evicted")
        rooms[2].send("still here")
        for client in (rooms[2], rooms[0]):
            assert client.recv(PATIENCE).endswith(": still here")
        for process in [process for process, _ in containers.proxies] + containers.nodes:
            process.send_signal(signal.SIGTERM)
        assert {process.wait(PATIENCE) for process in containers.nodes} == {0}
        assert {process.wait(PATIENCE) for process, _ in containers.proxies} == {0}


def test_the_balancer_sends_clients_to_proxies_that_are_ready(tmp_path):
    with up(tmp_path) as containers, ExitStack() as clients:
        containers.start_balancer()

        def served_by():
            """How many clients each proxy has."""
            return Counter(
                {ready["admin"]: get(ready["admin"], "/api/status")[1]["clients"] for _, ready in containers.proxies}
            )

        until(lambda: get(containers.balancer, "/_plugin/cluster/health") == (200, "ok"), "the balancer to serve")
        until(lambda: _all_up(containers), "all proxies to be ready")
        rooms = [clients.enter_context(connect(f"ws://{containers.balancer}/kitchen")) for _ in range(6)]
        assert set(served_by().values()) == {2}
        until(lambda: joined(containers) == {6}, "all to have joined")
        rooms[0].send("hello")
        for client in rooms:
            assert client.recv(PATIENCE).endswith(": hello")
        containers.proxies[0][0].send_signal(signal.SIGTERM)  # it drains, and the balancer knows
        assert containers.proxies.pop(0)[0].wait(PATIENCE) == 0
        for _ in range(4):
            clients.enter_context(connect(f"ws://{containers.balancer}/kitchen"))
        assert sum(served_by().values()) == 8


def _all_up(containers):
    """haproxy asks each once a second; a proxy that it sends a client to is one that it has found ready."""
    with ExitStack() as probes:
        for _ in range(PROXIES):
            probes.enter_context(connect(f"ws://{containers.balancer}/hall"))
        having = [get(ready["admin"], "/api/status")[1]["clients"] for _, ready in containers.proxies]
    return all(having)
