"""Which proxy may be killed, and which is. That it is done, and mended, is in test_trial."""

import random
import sys

import pytest

from holdfast.chaos.deployment import Deployment
from holdfast.chaos.failover import Fault
from holdfast.chaos.fleet import ClusterStatus, Fleet, Status
from holdfast.chaos.processes import Processes
from holdfast.chaos.proxies import Launch, OwnProxy
from holdfast.chaos.servers import KINDS, Servers
from holdfast.proxy.config import Config

BOUND = {"client": "127.0.0.1:1", "node": "tcp://127.0.0.1:2", "admin": "127.0.0.1:3"}


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
def servers(processes):
    """Three proxies, by processes that never serve: nobody can mend what is killed."""
    own = []
    for number in range(3):
        process = processes.start_program(f"proxy-{number}", [sys.executable, "-c", "import time; time.sleep(60)"])
        own.append(OwnProxy(number, Launch(f"proxy-{number}", processes, None, ["no.such=key"]), process, BOUND, ""))
        own[-1].id = f"id-{number}"
    deployment = Deployment(own, own, None, {}, Config())
    fleet = Fleet(processes, deployment)
    fleet.status = Status(cluster=ClusterStatus(keeper="id-1", members=()))
    servers = Servers(deployment, fleet, random.Random(1), lambda surprise: servers.surprises.append(surprise))
    servers.surprises = []
    return servers


def test_anything_may_be_done_at_first(servers):
    assert all(map(servers.may, ("kill", *KINDS)))


async def test_no_other_proxy_is_killed_while_one_is_not_mended(servers, monkeypatch):
    monkeypatch.setattr("holdfast.chaos.servers.AWAY", (0.0,))
    proxy = servers.choose()
    process = proxy.process
    servers.begins("kill-proxy")
    assert not any(map(servers.may, set(KINDS) - {"kill-store"}))  # though it is not done yet
    await servers.kill_proxy(proxy, Fault("kill-proxy", proxy.name, 0.0))
    assert not process.is_running
    assert not proxy.is_serving
    (surprise,) = servers.surprises  # it could not be started anew
    assert "no.such" in surprise
    assert servers.may("kill")
    assert servers.may("kill-store")
    assert not any(map(servers.may, set(KINDS) - {"kill-store"}))


async def test_the_third_is_the_keeper_and_none_is_the_last_one(servers, monkeypatch):
    monkeypatch.setattr("holdfast.chaos.servers.AWAY", (0.0,))
    chosen = []
    for _ in range(2):
        chosen.append(servers.choose())
        await servers.kill_proxy(chosen[-1], Fault("kill-proxy", chosen[-1].name, 0.0))
    assert chosen[0] is not chosen[1]
    if chosen[1].id != "id-1":
        assert {servers.choose().id for _ in range(10)} == {"id-1"}
    else:
        assert servers.choose() is not chosen[1]


async def test_a_file_is_not_killed(servers):
    await servers.kill_store()
    assert servers.may("kill-store")
    assert servers.surprises == []
