"""Whole runs: a real proxy, real nodes, real clients, small and short."""

import json
import os
import signal

import pytest
import trio

from holdfast.chaos.deployment import OWN_ADDRESSES, start
from holdfast.chaos.processes import Processes
from holdfast.chaos.trial import Plan, Running, Trial
from holdfast.console.admin_client import AdminClient
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.views import ClientPage, Kicked
from tests.chaos.reports import check_kept
from tests.waiting import until

# So that masters change, and frozen nodes are given up, as often in seconds as usually in a minute; but on a busy
# machine somebody who lives may be silent for a second, and all nodes be away for longer than requests usually wait.
QUICK = (
    "election.lease=0.4", "node.heartbeat_timeout=2", "node.heartbeat_interval=0.1", "request.parked_timeout=60",
    "log.level=warning",
)  # fmt: skip
# Where nobody is frozen: nor is anybody given up that a busy machine lets wait.
PATIENT = (*QUICK, "node.heartbeat_timeout=10", "cluster.heartbeat=0.1", "cluster.heartbeat_timeout=10")


def plan(**changes):
    usual = {
        "seconds": 2.0, "clients": 20, "rate": 10.0, "work": 0.02, "nodes": 1, "kinds": [], "every": 0.5,
        "all_at_once": False, "seed": 1, "sets": [*QUICK, *OWN_ADDRESSES],
    }  # fmt: skip
    return Plan(**{**usual, **changes})


class NamedProcesses(Processes):
    """Lets a test find them. by_name: the last of each name."""

    def __init__(self, directory):
        super().__init__(directory)
        self.by_name = {}

    def start(self, name, arguments, **options):
        self.by_name[name] = super().start(name, arguments, **options)
        return self.by_name[name]


class Run:
    def __init__(self, processes):
        self.processes = processes
        self.told = []

    def trial(self, **changes):
        return Trial(plan(**changes), self.processes, self.told.append)


@pytest.fixture
def run(tmp_path):
    with NamedProcesses(tmp_path) as processes:
        yield Run(processes)


def fails(told):
    return pytest.RaisesGroup(pytest.RaisesExc(HoldfastError, match=told), flatten_subgroups=True)


async def until_under_way(trial):
    await until(lambda: (progress := trial.snapshot().progress) is not None and progress.done > 10)


async def test_all_faults_and_nothing_lost(run, monkeypatch):
    monkeypatch.setattr("holdfast.chaos.faults.ALONE", 0.5)
    kinds = ["kill", "freeze-node", "slow", "drain", "restart-node"]
    trial = run.trial(seconds=3.5, nodes=3, kinds=kinds, all_at_once=True)
    report = await trial.run()
    check_kept(report)
    # On a busy machine nodes come back so late that turns are skipped: then some kinds have no turn.
    assert {"all"} < set(report.faults) <= {*kinds, "all"}
    assert len(report.faults) == 6 or report.turns_skipped
    requests = report.requests
    assert requests.sent == requests.answered_once > 500
    assert report.notifications.delivered == 10 * requests.sent  # groups of 10
    assert report.masters.hit > 0
    epochs = [acting.epoch for acting in report.masters.epochs]
    assert len(epochs) > 1
    assert epochs == sorted(set(epochs))
    assert report.failover["all"].faults == 1
    assert report.latency.count == requests.sent
    assert report.cpu["proxy"] > 0
    assert any("the master" in line for line in run.told)
    assert trial.snapshot().faults == sum(report.faults.values())


async def test_the_proxy_is_restarted_and_floods_come(run, monkeypatch):
    """Every fault of proxies that one alone can have; its nodes keep the state."""
    monkeypatch.setattr("holdfast.chaos.servers.AWAY", (0.0,))
    kinds = ["restart", "restart-kill", "freeze-proxy", "burst"]
    settings = [*QUICK, *OWN_ADDRESSES, "drain.spread=0.2", "cluster.heartbeat_timeout=2"]
    trial = run.trial(
        seconds=8.0, nodes=3, kinds=kinds, every=1.0, sets=settings, writes=20.0, burst=200, listeners=5, slow=1
    )
    report = await trial.run()
    check_kept(report)
    assert set(report.faults) == set(kinds) or report.turns_skipped  # on a busy machine some have no turn
    restarts = report.faults.get("restart", 0) + report.faults.get("restart-kill", 0)
    assert report.clients.moved >= 10 * restarts > 0
    requests, state, flood = report.requests, report.state, report.flood
    assert requests.sent == requests.answered_once + requests.gone + sum(requests.errors.values())
    assert (state.acknowledged > 0, state.nodes) == (True, 3)
    assert flood.published == 200 * report.faults.get("burst", 0)
    assert report.memory["proxy"].most > 10


async def test_a_flood_above_capacity(run):
    sets = [*PATIENT, *OWN_ADDRESSES]
    trial = run.trial(seconds=1.0, clients=4, nodes=2, overload=2.0, listeners=5, writes=5.0, sets=sets)
    report = await trial.run()
    flood = report.flood
    assert flood.capacity > 0
    assert flood.attempted >= flood.published > 0
    assert flood.delivered >= 5 * flood.published
    assert (flood.missing, flood.doubled, flood.closed, flood.nodes_lost) == (0, 0, {}, 0)


async def test_an_interrupted_run_reports(run):
    trial = run.trial(seconds=float("inf"))
    report = None

    async def measure():
        nonlocal report
        report = await trial.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure)
        await until_under_way(trial)
        os.kill(os.getpid(), signal.SIGINT)
    assert report.ok
    assert report.requests.sent == report.requests.answered_once > 10


async def test_a_run_interrupted_before_it_began_reports_nothing(run):
    trial = run.trial()

    async def interrupt():
        await until(lambda: trial.snapshot().address)
        os.kill(os.getpid(), signal.SIGTERM)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        assert await trial.run() is None


@pytest.mark.parametrize("name", ["proxy", "clients"])
async def test_a_process_that_dies_is_told(run, name):
    trial = run.trial(seconds=30.0)

    async def kill():
        await until_under_way(trial)
        run.processes.by_name[name].signal(signal.SIGKILL)

    with fails(f"{name}.* ended: status -9"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            await trial.run()


async def test_a_client_that_is_dropped_breaks_the_promise(run):
    trial = run.trial()

    async def kick():
        await until_under_way(trial)
        where = json.loads((run.processes.directory / "proxy.json").read_text())
        admin = AdminClient(f"http://{where['admin']}", "")
        client = (await trio.to_thread.run_sync(admin.get, "/api/clients", ClientPage)).clients[0].id
        await trio.to_thread.run_sync(admin.post, f"/api/clients/{client}/kick", {}, Kicked)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kick)
        report = await trial.run()
    assert not report.ok
    assert "1 clients dropped" in report.broken
    assert report.clients.dropped == {"close code 1008": 1}


async def test_nodes_that_cannot_join(run, monkeypatch):
    monkeypatch.setenv("HOLDFAST_NODE_CAPACITY", "0")  # which a proxy refuses
    with fails("(?s)not all nodes are ready.*the capacity of a node is"):
        await run.trial().run()


async def test_a_deployment_that_runs_already(run):
    (theirs,) = (await start(run.processes, None, [*QUICK, *OWN_ADDRESSES], 1, 1, "")).own
    running = Running(f"{theirs.host}:{theirs.port}", theirs.admin_url, "", theirs.node_address)
    trial = run.trial(running=running, nodes=2, kinds=["kill"], seconds=2.0)
    report = await trial.run()
    check_kept(report)
    assert set(report.faults) == {"kill"}
    assert theirs.process.is_running  # it is not ours to end


# --- clusters -------------------------------------------------------------------------------------------------------


async def test_proxies_die_and_others_go_on(run, monkeypatch):
    monkeypatch.setattr("holdfast.chaos.servers.AWAY", (0.0, 1.0))
    sets = [*PATIENT, *OWN_ADDRESSES]
    kinds = ["kill", "kill-proxy", "kill-together"]
    trial = run.trial(seconds=7.0, clients=30, rate=5.0, nodes=3, proxies=3, kinds=kinds, every=1.0, sets=sets)
    report = await trial.run()
    check_kept(report)
    assert report.clients.dropped == {}
    assert set(report.faults) == set(kinds) or report.turns_skipped  # a busy machine has no time for some
    requests = report.requests
    assert requests.sent == requests.answered_once + requests.gone > 500
    assert requests.errors == {}
    assert report.clients.moved == report.clients.away.count >= 10
    assert report.openings.runs >= 4
    assert report.openings.opened >= 3 * (30 + report.clients.moved)
    assert report.cpu.keys() == {"proxy-1", "proxy-2", "proxy-3", "clients"}
    assert report.failover["kill-proxy"].faults == report.faults.get("kill-proxy", 0) > 0


async def test_a_client_that_is_dropped_by_a_living_proxy_breaks_the_promise(run):
    # The usual limits: on a busy machine a proxy that is given up soon would drop clients, too.
    trial = run.trial(clients=6, proxies=2, sets=[*OWN_ADDRESSES])

    async def kick():
        await until_under_way(trial)
        for number in (1, 2):
            where = json.loads((run.processes.directory / f"proxy-{number}.json").read_text())
            admin = AdminClient(f"http://{where['admin']}", "")
            if there := (await trio.to_thread.run_sync(admin.get, "/api/clients", ClientPage)).clients:
                client = there[0].id
                break
        await trio.to_thread.run_sync(admin.post, f"/api/clients/{client}/kick", {}, Kicked)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kick)
        report = await trial.run()
    assert report.broken == ["1 clients dropped"]
    assert report.clients.dropped == {"close code 1008": 1}
    assert report.clients.moved == 0
    assert report.requests.unanswered == 0


async def test_no_deployment_at_all(run):
    running = Running("127.0.0.1:1", "http://127.0.0.1:1", "", None)
    with fails("no admin server answers"):
        await run.trial(running=running, nodes=0).run()


@pytest.mark.parametrize(("clients", "rate", "group"), [(1000, 10, 2), (100, 5, 10), (3, 1, 3), (5000, 10, 1)])
def test_groups_are_as_large_as_a_machine_can_serve(clients, rate, group):
    assert plan(clients=clients, rate=float(rate)).group == group
