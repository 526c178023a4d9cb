"""One run: deployment, nodes, clients and faults put together, from the first process to the report.

Owns the order: everything stands before the first request is sent; after the last one all that is due is waited for;
then clients, nodes and proxies end, in this order, and must end well.
"""

import math
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import trio
from msgspec import Struct

from holdfast.chaos.accounting import Verdict
from holdfast.chaos.deployment import Deployment, running, start
from holdfast.chaos.faults import Faults
from holdfast.chaos.fleet import Fleet, Status
from holdfast.chaos.flood import ORDER_VARIABLE, FloodFigures
from holdfast.chaos.flooding import Flooding
from holdfast.chaos.hearing import Hearing
from holdfast.chaos.listeners import Settings as ListenerSettings
from holdfast.chaos.load import Progress, Settings
from holdfast.chaos.load_worker import Finished
from holdfast.chaos.losses import Losses, losses
from holdfast.chaos.openings import Openings
from holdfast.chaos.processes import Process, Processes, cpu_seconds
from holdfast.chaos.proxies import OwnProxy
from holdfast.chaos.remote_load import RemoteLoad
from holdfast.chaos.report import (
    DEFINITIONS,
    Clients,
    MasterFigures,
    Memory,
    Report,
    broken_promises,
    count_kinds,
    since,
)
from holdfast.chaos.sessions import ends, moves
from holdfast.chaos.writes import Contents, StateFigures, audit
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.process import hangup

LARGEST_GROUP = 10
DELIVERIES_PER_SECOND = 20_000  # what leaves two cores room for everything else, measured
SETTLE_PATIENCE = 30.0  # for nodes, clients and a first master to be there
END_PATIENCE = 10.0
POLL_INTERVAL = 0.1
MEMORY_INTERVAL = 1.0


class Running(Struct):
    """A deployment that is there already. node_address: where nodes that we start join; None: none."""

    client: str
    admin_url: str
    token: str
    node_address: str | None


class Plan(Struct):
    """seconds: how long requests are sent and faults happen; infinity until interrupted.

    writes: to the state, of all clients together, per second. overload: how many times what can be delivered is
    published all the while, to `listeners`; slow: further ones, that do not read. burst: messages. file, sets:
    configuration of our own proxies. proxies: how many; workers: of each of them. store: of several, what they find
    each other by. running: a deployment to use in their place.
    """

    seconds: float
    clients: int
    rate: float
    work: float
    nodes: int
    kinds: list[str]
    every: float
    all_at_once: bool
    seed: int
    file: Path | None = None
    sets: list[str] = []
    proxies: int = 1
    workers: int = 1
    writes: float = 0.0
    overload: float = 0.0
    burst: int = 0
    listeners: int = 0
    slow: int = 0
    store: str = "sqlite"
    running: Running | None = None

    @property
    def group(self) -> int:
        """Clients per channel: as many as let each request be heard by all of them, within what a machine can do."""
        affordable = int(DELIVERIES_PER_SECOND / (self.clients * self.rate))
        return max(1, min(LARGEST_GROUP, affordable, self.clients))


class Snapshot(Struct):
    """What can be shown while it goes on. elapsed: None before the first request. address: for the user to connect."""

    address: str
    elapsed: float | None
    progress: Progress | None
    status: Status
    faults: int


class Trial:
    """tell: called with what happens, for people."""

    def __init__(self, plan: Plan, processes: Processes, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._processes = processes
        self._tell = tell
        self._load: RemoteLoad | None = None
        self._fleet: Fleet | None = None
        self._faults: Faults | None = None
        self._hearing = Hearing(tell)
        self._deployment: Deployment | None = None
        self._flooding: Flooding | None = None
        self._memory: dict[str, list[int]] = defaultdict(list)  # bytes of each proxy, once a second
        self._started: float | None = None
        self._started_at = 0.0  # of time.time(), as logs have it
        self._measuring = trio.CancelScope()
        self._surprises: list[str] = []
        self._is_ending = False

    def snapshot(self) -> Snapshot:
        deployment = self._deployment
        return Snapshot(
            address="" if deployment is None else deployment.first.url,
            elapsed=None if self._started is None else time.monotonic() - self._started,
            progress=None if self._load is None else self._load.progress,
            status=Status() if self._fleet is None else self._fleet.status,
            faults=0 if self._faults is None else len(self._faults.happened),
        )

    async def run(self) -> Report | None:
        """The report; None if it was interrupted before there was anything to report.

        SIGINT, SIGTERM or SIGHUP ends the sending of requests; a second one ends it all. Raises HoldfastError.
        """
        report = None
        with trio.open_signal_receiver(*hangup.endings()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed, signals, nursery.cancel_scope)
                report = await self._run(nursery)
                nursery.cancel_scope.cancel(reason="done")
        return report

    async def _heed(self, signals: AsyncIterator[int], everything: trio.CancelScope) -> None:
        await anext(signals)
        if self._started is None:
            everything.cancel(reason="interrupted")
        self._measuring.cancel(reason="interrupted")
        self._tell("interrupted: waiting for what is due")
        await anext(signals)
        everything.cancel(reason="interrupted twice")

    async def _run(self, nursery: trio.Nursery) -> Report:
        plan = self._plan
        deployment = self._deployment = await self._deploy(nursery)
        fleet = self._fleet = Fleet(self._processes, deployment)
        if plan.nodes:
            self._hearing.open(fleet, nursery, with_openings=deployment.is_cluster)
        if plan.listeners:
            self._flooding = self._open_flood(deployment, fleet, nursery)
        await fleet.update()  # whoever can't reach the admin server is told so at once
        nursery.start_soon(fleet.run)
        await self._start_nodes(fleet)
        addresses = [(proxy.host, proxy.port) for proxy in deployment.proxies]
        writes = plan.writes if plan.nodes else 0.0  # else nobody would show what came of it
        flooding = self._flooding
        if flooding is not None:
            nursery.start_soon(flooding.run)
            await flooding.wait_joined()
        load = self._load = RemoteLoad(
            Settings(addresses, deployment.is_cluster, plan.clients, plan.group, plan.rate, plan.work, writes)
        )
        clients = load.begin(self._processes)
        nursery.start_soon(load.run)
        await self._settle(load, fleet)

        if flooding is not None and plan.overload:
            await flooding.measure(fleet.running[0].pid)
        used_before = _cpu(deployment, clients)
        faults = self._faults = Faults(deployment, fleet, plan.kinds, plan.seed, self._tell, self._burst)
        started, self._started_at = time.monotonic(), time.time()
        self._started = started
        load.start()
        if flooding is not None:
            flooding.start(plan.nodes)
        nursery.start_soon(self._watch_memory, deployment)
        with self._measuring:
            await self._harm(faults)
        if flooding is not None:
            flooding.stop()
        seconds = time.monotonic() - started
        cpu = {name: round((used - used_before[name]) / seconds, 2) for name, used in _cpu(deployment, clients).items()}
        self._tell("waiting for what is due")
        finished = await load.finish(deployment.patience, faults.happened)
        openings = await self._hear_openings(finished, faults, fleet) if deployment.is_cluster and plan.nodes else None
        state = await self._see_states(finished, faults, fleet) if plan.nodes and plan.writes else None
        flood = None if flooding is None else await self._finish_flood(flooding, faults, fleet)
        load.end()
        await self._end(clients, fleet, deployment)
        lost = self._losses(deployment) if deployment.own else None
        return self._report(finished, faults, openings, state, flood, lost, seconds, cpu)

    async def _hear_openings(self, finished: Finished, faults: Faults, fleet: Fleet) -> Openings:
        """What nodes were told of clients, as soon as they know of the end what is true."""
        deployment, hearing = self._deployment, self._hearing
        assert deployment is not None
        present = ends(finished.sessions, faults.happened)
        nodes = [node.pid for node in fleet.running if fleet.is_ready(node.pid)]
        self._tell("waiting for nodes to be told who is gone")
        with trio.move_on_after(deployment.closing_patience):
            while not hearing.openings.is_up_to_date(present, nodes):  # noqa: ASYNC110 - of lines that come
                await trio.sleep(POLL_INTERVAL)
        return hearing.openings.verdict(present, nodes)

    async def _see_states(self, finished: Finished, faults: Faults, fleet: Fleet) -> StateFigures:
        """What nodes have in their state, as soon as it is what it must be."""
        assert self._deployment is not None
        present = ends(finished.sessions, faults.happened)
        states: list[Contents] = []
        self._tell("waiting for nodes to have the same state")
        with trio.move_on_after(self._deployment.closing_patience):
            while True:
                states = await fleet.states()
                figures = audit(finished.book, states, present)
                if states and not any(figures.wrong().values()):  # none: just now no node is ready
                    return figures
                await trio.sleep(POLL_INTERVAL)
        return audit(finished.book, states, present)

    def _losses(self, deployment: Deployment) -> Losses:
        """By the logs of all processes of the run, also those that have ended."""
        proxies = {proxy.name: self._processes.log(proxy.name) for proxy in deployment.own}
        nodes = {name: self._processes.log(name) for name in _names(self._plan.nodes)}
        return losses(proxies, nodes, self._started_at, deployment.config.request.timeout)

    # --- a flood ----------------------------------------------------------------------------------------------

    def _open_flood(self, deployment: Deployment, fleet: Fleet, nursery: trio.Nursery) -> Flooding:
        addresses = [(proxy.host, proxy.port) for proxy in deployment.proxies]
        settings = ListenerSettings(addresses, self._plan.listeners, self._plan.slow)
        flooding = Flooding(self._processes, settings, self._plan.overload, self._tell)
        fleet.tell(ORDER_VARIABLE, str(flooding.order_file))
        self._hearing.hear_flood(fleet, nursery, flooding.published)
        return flooding

    def _burst(self, pid: int) -> None:
        assert self._flooding is not None
        self._flooding.burst(self._plan.burst, pid)

    async def _watch_memory(self, deployment: Deployment) -> None:
        """Task."""
        while True:
            for proxy in deployment.own:
                self._memory[proxy.name].append(proxy.resident_bytes)
            await trio.sleep(MEMORY_INTERVAL)

    async def _finish_flood(self, flooding: Flooding, faults: Faults, fleet: Fleet) -> FloodFigures:
        assert self._deployment is not None
        self._tell("waiting for what was published")
        lost = sum([await proxy.metric("holdfast_nodes_lost_total") for proxy in self._deployment.own])
        alive = [node.pid for node in fleet.running if fleet.is_ready(node.pid)]
        is_calm = not set(count_kinds(faults.happened)) - {"burst"}
        figures = await flooding.finish(alive, faults.happened, int(lost), is_calm=is_calm)
        flooding.end()
        return figures

    # --- the beginning ----------------------------------------------------------------------------------------

    async def _deploy(self, nursery: trio.Nursery) -> Deployment:
        plan = self._plan
        if plan.running is not None:
            return running(plan.running.client, plan.running.admin_url, plan.running.token, plan.running.node_address)
        deployment = await start(self._processes, plan.file, plan.sets, plan.proxies, plan.workers, plan.store)
        for proxy in deployment.own:
            nursery.start_soon(self._watch_proxy, proxy)
        return deployment

    async def _watch_proxy(self, proxy: OwnProxy) -> None:
        status = await proxy.wait_lost()
        if not self._is_ending:
            raise HoldfastError(f"the {proxy.name} ended: status {status}\n{proxy.process.log_tail()}".rstrip())

    async def _start_nodes(self, fleet: Fleet) -> None:
        for name in _names(self._plan.nodes):
            fleet.start(name)
        with trio.move_on_after(SETTLE_PATIENCE):
            await fleet.wait(lambda: fleet.is_complete or not all(node.is_running for node in fleet.running))
        if not fleet.is_complete:
            raise HoldfastError("\n".join(["not all nodes are ready", *(node.log_tail() for node in fleet.running)]))

    async def _settle(self, load: RemoteLoad, fleet: Fleet) -> None:
        await load.wait_connected()
        with trio.move_on_after(SETTLE_PATIENCE):
            await fleet.wait(lambda: fleet.status.master.node is not None)
            return
        raise HoldfastError(f"there is no master after {SETTLE_PATIENCE:g} s")

    async def _harm(self, faults: Faults) -> None:
        plan = self._plan
        until = trio.current_time() + plan.seconds
        if plan.kinds:
            await faults.run(plan.every, until)
        await trio.sleep_until(until) if math.isfinite(until) else await trio.sleep_forever()
        if plan.all_at_once:
            await faults.kill_all()

    # --- the end ----------------------------------------------------------------------------------------------

    async def _end(self, clients: Process, fleet: Fleet, deployment: Deployment) -> None:
        """SIGTERM to all that is ours; each must exit well."""
        self._is_ending = True
        with trio.move_on_after(END_PATIENCE):
            await clients.wait()
        async with trio.open_nursery() as nursery:
            for node in fleet.running:
                nursery.start_soon(self._end_one, node, fleet.is_ready(node.pid))
        async with trio.open_nursery() as nursery:
            for proxy in deployment.own:
                nursery.start_soon(self._end_one, proxy.process, proxy.is_serving)

    async def _end_one(self, process: Process, has_started: bool) -> None:
        status = await process.end(END_PATIENCE)
        # The end may interrupt a fault: a node that was killed and not started anew, or that is just starting.
        expected = process.was_killed or (status == -signal.SIGTERM and not has_started)
        if status and not expected:
            self._surprises.append(f"{process.name} ended with status {status} after SIGTERM")

    def _report(
        self,
        finished: Finished,
        faults: Faults,
        openings: Openings | None,
        state: StateFigures | None,
        flood: FloodFigures | None,
        lost: Losses | None,
        seconds: float,
        cpu: dict[str, float],
    ) -> Report:
        plan = self._plan
        verdict: Verdict = finished.verdict
        start = self._started or 0.0
        masters = self._hearing.masters if plan.nodes else None
        moved = moves(finished.sessions, faults.happened)
        dropped = {**verdict.dropped, **moved.dropped}
        surprises = [*faults.surprises, *self._surprises]
        broken = broken_promises(verdict, dropped, masters, openings, state, flood, surprises)
        return Report(
            ok=not broken,
            broken=broken,
            seconds=round(seconds, 1),
            seed=plan.seed,
            proxies=plan.proxies * plan.workers,
            faults=count_kinds(faults.happened),
            turns_skipped=faults.skipped,
            clients=Clients(plan.clients, plan.rate, plan.group, dropped, moved.moved, moved.away, finished.worst_lag),
            requests=verdict.requests,
            notifications=verdict.notifications,
            twice=[one.since(start) for one in verdict.twice],
            disordered=[one.since(start) for one in verdict.disordered],
            missed=[one.since(start) for one in verdict.missed],
            openings=openings,
            state=state,
            flood=flood,
            losses=lost,
            memory={name: Memory.of(sizes) for name, sizes in self._memory.items() if sizes},
            masters=MasterFigures(
                epochs=since(self._hearing.masters.terms(), start),
                overlaps=self._hearing.masters.overlaps(),
                hit=sum(fault.hit_master for fault in faults.happened),
            ),
            latency=verdict.latency,
            failover=verdict.failover,
            cpu=cpu,
            definitions=DEFINITIONS,
        )


def _names(nodes: int) -> list[str]:
    return [f"node-{number}" for number in range(1, nodes + 1)]


def _cpu(deployment: Deployment, clients: Process) -> dict[str, float]:
    """CPU seconds so far, of what is ours."""
    return {**{proxy.name: proxy.cpu_seconds for proxy in deployment.own}, "clients": cpu_seconds(clients.pid)}
