"""A node's process that died, and one that only seems so. Processes are real; nodes say that they are one of them."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from holdfast import Node
from holdfast.balancer.directory import NodeState
from holdfast.node.process import whereabouts
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.process import started_of
from holdfast.proxy import app
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes import deaths
from holdfast.proxy.nodes.deaths import Deaths, here
from tests.harness import ScriptedNode, running
from tests.holdfast.node.fake_proxy import linked
from tests.proxy.cluster.proxies import cluster_of
from tests.proxy.still import StillProxy
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]
LONG = {"election": {"lease": 600.0}, "node": {"heartbeat_interval": 0.1, "heartbeat_timeout": 60.0}}


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """The clock stands where it began, so epochs are small: 1 without a master, then 2 and so on."""
    monkeypatch.setattr(app, "wall_clock", lambda: 0)


@contextmanager
def a_process(*command):
    """Until it is killed; by default one that does nothing."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command or ["sleep", "1000"], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_process(process, **more):
    """What the Hello of a node says that is this process."""
    started = started_of(Path(f"/proc/{process.pid}/stat").read_text())
    return {"pid": process.pid, "host": here(), "started": started} | more


def hello(process, node="n", incarnation=1, **more):
    return frames.Hello(frames.VERSION, node, node, incarnation, 1, **is_process(process, **more))


async def elected(proxy, node):
    """As soon as it may be: no former run of this proxy has given a lease. It has one then."""
    proxy.app.cluster.mastership.grants.joined()
    await proxy.until(lambda: proxy.app.steward.master[0] == node.id)
    assert (await beat(node)).lease == 600.0


async def beat(node):
    """The answer to a heartbeat."""
    stamp = trio.current_time()
    node.say(frames.Heartbeat(stamp))
    while (answer := await node.take(frames.Heartbeat)).stamp != stamp:
        pass
    return answer


async def test_the_late_death_of_a_former_run_is_not_that_of_the_present_one():
    """A drain is for the whole of a run, for the node remembers it."""
    proxy = StillProxy()
    for incarnation in (1, 2):
        proxy.join("n", incarnation)
    node = proxy.app.directory.nodes["n"]
    proxy.app.gateway.died("n", 1)
    assert node.state is NodeState.READY
    for _ in range(2):  # by what this proxy sees, and by another one's word
        proxy.app.gateway.died("n", 2)
        assert node.state is NodeState.DRAINING
    proxy.close()


async def test_who_comes_after_a_killed_master_does_not_wait_for_its_lease():
    async with running(**LONG) as proxy:
        with a_process() as process, ScriptedNode(proxy.node, **is_process(process)) as one:
            with ScriptedNode(proxy.node) as two:
                await one.join()
                await two.join()
                await elected(proxy, one)
                process.kill()
                await proxy.until(lambda: proxy.app.steward.master == (two.id, 3))
                assert len(proxy.app.deaths) == 0
                dead = proxy.app.directory.nodes[one.id]
                assert dead.state is NodeState.DRAINING, "it gets nothing more, though its socket is open"
                one.say(frames.Effects(1, [frames.Broadcast(b"last words", True)]))
                await one.take(frames.Ack)
                now = dead.link.last_seen
                two.say(frames.Heartbeat(1.0))
                await proxy.until(lambda: proxy.app.directory.nodes[two.id].link.last_seen > now)
                proxy.app.gateway.tick(now + 59.9)
                assert len(proxy.app.directory) == 2, "what it has said may be on its way"
                proxy.app.gateway.tick(now + 60.0001)
                assert dead.state is NodeState.LOST, "its session ends as that of any other that is silent"


async def test_a_connection_that_ends_and_a_process_that_is_stopped_prove_nothing():
    async with running(**LONG) as proxy:
        with a_process() as process, ScriptedNode(proxy.node, **is_process(process)) as one:
            with ScriptedNode(proxy.node) as two:
                await one.join()
                await two.join()
                await elected(proxy, one)
                process.send_signal(signal.SIGSTOP)
                one.close()
                assert await two.take(frames.Master) == frames.Master("", 1)
                assert await two.take(frames.Master) == frames.Master(one.id, 2)
                await proxy.until(lambda: proxy.app.steward.master == ("", 2))
                assert proxy.app.cluster.mastership.grants.end > trio.current_time() + 500.0
                process.kill()  # its session is long over, and its lease is not
                await proxy.until(lambda: proxy.app.steward.master == (two.id, 3))


async def test_a_real_node_is_killed():
    async with running(**LONG) as proxy:
        with a_node(proxy), a_node(proxy):
            steward, nodes = proxy.app.steward, proxy.app.directory.nodes
            await proxy.until(lambda: proxy.app.directory.count()[NodeState.READY] == 2)
            grants = proxy.app.cluster.mastership.grants
            grants.joined()
            await proxy.until(lambda: grants._process)
            master, epoch = steward.master
            other = next(id for id in nodes if id != master)
            os.kill(nodes[master].pid, signal.SIGKILL)
            await proxy.until(lambda: steward.master == (other, epoch + 1))
            await proxy.until(lambda: grants._process == (other, nodes[other].incarnation))


def a_node(proxy):
    return a_process(sys.executable, "-P", "-m", "holdfast", "node", "examples.echo_node:node", "--join", proxy.node)


async def test_other_proxies_believe_the_one_that_can_see_it():
    async with cluster_of(2, **LONG) as proxies:
        proxies[1].app.deaths._host = "elsewhere"
        for proxy in proxies:  # no grant of an older set of members is about
            membership = proxy.app.cluster.membership
            membership.times = membership.times._replace(lease=0.0)
        keeper = next(proxy for proxy in proxies if proxy.app.cluster.membership.is_keeper)
        with a_process() as process, ExitStack() as stack:
            one = await session_with_each(stack, proxies, keeper, node="one", **is_process(process))
            two = await session_with_each(stack, proxies, keeper, node="two")
            await all_grant(proxies, one)
            process.kill()
            await all_grant(proxies, two)


async def session_with_each(stack, proxies, keeper, incarnation=5, **hello):
    sessions = [stack.enter_context(ScriptedNode(proxy.node, incarnation=incarnation, **hello)) for proxy in proxies]
    for proxy, session in zip(proxies, sessions, strict=True):
        await session.join(keeper=proxy is keeper)
    return sessions


async def all_grant(proxies, sessions):
    """It is master, and has a lease of each: a proxy has one to give, until that one has ended."""
    for proxy, session in zip(proxies, sessions, strict=True):
        await proxy.until(lambda: proxy.app.steward.master[0] == session.id)  # noqa: B023
        with trio.fail_after(PATIENCE):
            while not (await beat(session)).lease:
                pass


async def test_a_node_says_which_process_it_is():
    async with linked(Node("test")) as session:
        host, started = whereabouts()
        assert (session.hello.host, session.hello.started, session.hello.pid) == (host, started, os.getpid())
        assert host == here() != ""


def test_the_command_in_a_stat_may_say_anything():
    fields = " ".join(str(number) for number in range(4, 53))
    assert started_of(f"77 (a) S 1 2 (b) R {fields}\n") == 22


class TestDeaths:
    """The class alone. Nobody polls the reactor: whether a process is watched is what is asked."""

    @pytest.fixture
    async def watching(self):
        reactor = Reactor()
        died = []
        deaths = Deaths(reactor, Counters(), 5.0, lambda *whom: died.append(whom))
        deaths.told = died
        yield deaths
        deaths.close()
        reactor.close()

    @pytest.mark.parametrize(
        "more",
        [{"host": ""}, {"host": "another:1"}, {"started": 1}, {"pid": 0}, {"pid": -1}, {"pid": 2**80}],
        ids=str,
    )
    async def test_who_is_not_surely_this_process_is_not_watched(self, watching, more):
        with a_process() as process:
            watching.watch(hello(process, **more))
            assert len(watching) == 0

    async def test_who_is_dead_already_is_not_watched(self, watching):
        with a_process() as process:
            late = hello(process)
        watching.watch(late)
        assert len(watching) == 0

    async def test_a_watch_ends_when_its_lease_must_have_ended(self, watching):
        with a_process() as process:
            before = descriptors()
            watching.watch(hello(process))
            watching.session_lost("n", 1, 100.0)
            watching.tick(104.9)
            assert len(watching) == 1
            watching.tick(105.0)
            assert (len(watching), descriptors()) == (0, before)

    async def test_a_node_that_comes_back_is_watched_on(self, watching):
        with a_process() as process:
            watching.watch(hello(process))
            watching.session_lost("n", 1, 100.0)
            watching.watch(hello(process))
            watching.tick(1000.0)
            assert len(watching) == 1

    async def test_descriptors_are_limited(self, watching, monkeypatch):
        monkeypatch.setattr(deaths, "MAX_WATCHED", 2)
        with a_process() as process:
            for incarnation in range(3):
                watching.watch(hello(process, incarnation=incarnation))
            assert len(watching) == 2
            assert watching._counters.limits_hit["node.watched"] == 1


def descriptors():
    return len(os.listdir("/proc/self/fd"))
