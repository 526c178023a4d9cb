"""Tasks and jobs: that each is guarded, ends when it should, and keeps its beat."""

import asyncio  # noqa: TID251 - where a node of Trio's does not run
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from functools import partial

import pytest
import structlog
import trio

from holdfast import ConfigError, HoldfastError, LinkRefused, Node, StaleError
from holdfast.asyncio import Node as AsyncioNode
from holdfast.node import tasks
from holdfast.node.failures import Failures
from holdfast.node.tasks import Tasks
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until


def failed(lines):
    return [line for line in lines if line["event"] == "task_failed"]


# --- tasks ------------------------------------------------------------------------------------------------------------


async def test_it_outlives_the_handler_that_starts_it_and_what_it_does_goes_at_once():
    node, go = Node("test"), trio.Event()

    async def later(*words):
        await node.broadcast(" ".join(words))
        go.set()

    @node.on_request
    async def handle(request):
        node.start_soon(later, "from", "the", "task")
        await go.wait()  # so it was not kept for our reply
        return "done"

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take_effect(frames.Broadcast)).payload == b"from the task"
        reply = await session.take(frames.Reply)
        assert (reply.payload, reply.effects) == (b"done", None)


async def test_what_it_does_after_its_handler_was_cancelled_counts():
    node, go = Node("test"), trio.Event()

    async def later():
        await go.wait()
        await node.broadcast("still here")

    @node.on_request
    async def handle(request):
        node.start_soon(later)
        await trio.sleep_forever()

    async with linked(node, clients=[client()]) as session:
        number = session.request()
        await until(lambda: node.statistics().in_flight)
        session.say(frames.Cancel(number, 1))
        await until(lambda: not node.statistics().in_flight)
        go.set()
        assert (await session.take_effect(frames.Broadcast)).payload == b"still here"


async def test_what_it_raises_is_logged_and_ends_nothing():
    node = Node("test")

    async def fails():
        raise OSError("boom")

    def exits():
        raise SystemExit("bye")

    @node.on_request
    async def handle(request):
        node.start_soon(fails)
        node.start_soon(exits)
        return "done"

    with structlog.testing.capture_logs() as lines:
        async with linked(node, clients=[client()]) as session:
            session.request()
            await session.take(frames.Reply)
            await until(lambda: len(failed(lines)) == 2)
            session.request()
            assert (await session.take(frames.Reply)).payload == b"done"
    texts = "".join(line["exception"] for line in failed(lines))
    assert "OSError: boom" in texts
    assert "SystemExit: bye" in texts


async def test_they_are_cancelled_when_the_node_has_drained_and_before_lifespans_are_left():
    node, told = Node("test"), []

    async def task():
        try:
            await trio.sleep_forever()
        finally:
            told.append("cancelled")

    @node.lifespan
    async def around():
        node.start_soon(task)
        yield
        told.append("left")

    @node.on_request
    async def handle(request):
        node.drain()
        await until(lambda: node._links.is_draining)
        assert told == []
        return "done"

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.request()
            await session.take(frames.Drain)
            await session.take(frames.Reply)
            await session.take(frames.Bye)
    assert told == ["cancelled", "left"]


@pytest.mark.parametrize("end", ["drain", "refused"])
async def test_one_that_publishes_on_and_on_does_not_fail_when_the_run_ends(end):
    node = Node("test")

    async def publish():
        while True:
            await node.broadcast("tick")

    @node.lifespan
    async def around():
        node.start_soon(publish)
        yield

    with structlog.testing.capture_logs() as lines, trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:

            async def be_told():
                session = await proxy.accept()
                if end == "refused":
                    proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("no", fatal=True)]))
                    return
                session.welcome()
                await until(lambda: len(session.frames) > 5)
                node.drain()

            nursery.start_soon(be_told)
            with pytest.raises(LinkRefused) if end == "refused" else nullcontext():
                await node.run([proxy.address])
    assert not failed(lines)


async def test_one_of_a_lifespan_begins_at_once_and_waits_for_a_proxy():
    node, begun = Node("test"), trio.Event()

    async def task():
        begun.set()
        await node.broadcast("hello")

    @node.lifespan
    async def around():
        node.start_soon(task)
        await begun.wait()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        yield

    async with linked(node) as session:
        assert (await session.take_effect(frames.Broadcast)).payload == b"hello"


async def test_outside_of_a_run_there_are_none():
    node, told = Node("test"), []

    async def task():
        pass

    def start():
        with pytest.raises(HoldfastError, match="the node does not run"):
            node.start_soon(task)
        told.append("refused")

    @node.lifespan
    async def around():
        yield
        start()

    start()
    async with linked(node):
        node.drain()
        await until(lambda: len(told) == 2)
    start()
    assert len(told) == 3


def in_a_thread(function, *arguments):
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *arguments).result()


async def refused_elsewhere(start):
    """In a thread of one's own, in a loop there, in another run of Trio there, and in a thread of that."""

    async def in_a_loop():
        start()

    async def in_a_run():
        start()
        await trio.to_thread.run_sync(start)

    for run in (start, partial(asyncio.run, in_a_loop()), partial(trio.run, in_a_run)):
        await trio.to_thread.run_sync(in_a_thread, run)


@pytest.mark.parametrize("kind", [Node, AsyncioNode])
def test_where_nothing_runs_there_are_none(kind):
    """Neither where the module is imported, nor in a loop: Trio's own error said nothing to an author."""
    node = kind("test")

    async def task():
        pass

    def start():
        with pytest.raises(HoldfastError, match="the node does not run: tasks are started in its lifespan"):
            node.start_soon(task)

    async def begin():
        start()

    start()
    asyncio.run(begin())
    trio.run(refused_elsewhere, start)


async def test_elsewhere_than_in_the_run_there_are_none():
    node = Node("test")

    async def task():
        raise AssertionError

    def start():
        with pytest.raises(HoldfastError, match="the node does not run in this thread: tasks are started"):
            node.start_soon(task)

    async with linked(node):
        await refused_elsewhere(start)
        assert node.statistics().tasks == 0


async def test_there_are_so_many_and_no_more(monkeypatch):
    monkeypatch.setattr(tasks, "MAX_TASKS", 3)
    node, go = Node("test"), trio.Event()

    @node.on_request
    async def handle(request):
        node.start_soon(go.wait)

    async with linked(node, clients=[client()]) as session:
        for _ in range(3):
            session.request()
            await session.take(frames.Reply)
        assert node.statistics().tasks == 3
        session.request()
        assert (await session.take(frames.Failure)).status == 503
        go.set()
        await until(lambda: not node.statistics().tasks)
        session.request()
        await session.take(frames.Reply)


def test_what_can_not_be_called_is_refused_at_once():
    node = Node("test")
    with pytest.raises(TypeError, match="could not be called with 2 arguments"):
        node.start_soon(lambda one: one, 1, 2)
    with pytest.raises(TypeError, match="expected a function"):
        node.start_soon(5)


async def test_plain_functions_start_them_and_are_such():
    node, told = Node("test"), []

    def task(number):
        told.append((number, threading.current_thread() is threading.main_thread()))
        trio.from_thread.run(node.broadcast, "from a thread")

    @node.on_request
    def handle(request):
        node.start_soon(task, 5)
        return "done"

    async with linked(node, clients=[client()]) as session:
        session.request()
        await until(lambda: len(session.untaken()) == 2)
        assert {type(frame) for frame in session.untaken()} == {frames.Reply, frames.Effects}
    assert told == [(5, False)]


async def test_a_thread_that_counts_for_nothing_starts_none():
    node, told, go, begun = Node("test"), [], threading.Event(), threading.Event()

    async def task():
        told.append("task")

    @node.on_request
    def handle(request):
        begun.set()
        assert go.wait(PATIENCE)
        try:
            node.start_soon(task)
        except StaleError:
            told.append("refused")

    async with linked(node, clients=[client()]) as session:
        number = session.request()
        await until(begun.is_set)
        session.say(frames.Cancel(number, 1))
        await until(lambda: not node.statistics().in_flight)
        go.set()
        await until(lambda: told)
    assert told == ["refused"]


async def test_a_cancelled_task_in_a_thread_counts_for_nothing():
    node, told, go, begun = Node("test"), [], threading.Event(), threading.Event()

    def task():
        begun.set()
        assert go.wait(PATIENCE)
        try:
            trio.from_thread.run(node.broadcast, "of a former run")
        except StaleError:
            told.append("refused")

    @node.lifespan
    async def around():
        if not begun.is_set():
            node.start_soon(task)
        yield

    async with linked(node):
        await until(begun.is_set)
    async with linked(node):
        go.set()
        await until(lambda: told)
    assert told == ["refused"]


# --- jobs -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def jobs(node):
    """Jobs alone, with a clock that jumps. Yields the event of the node's draining."""
    ready, draining = trio.Event(), trio.Event()
    ready.set()
    running = Tasks(node._links, node._jobs, Failures(), 5, ready, draining)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run_jobs)
        yield draining, running
        nursery.cancel_scope.cancel()


async def test_it_keeps_its_beat(autojump_clock):
    node, turns, begun = Node("test"), [], trio.current_time()
    lasts = iter([0, 3, 25, 10, 0, 0])

    @node.every(10)
    async def job():
        turns.append(trio.current_time() - begun)
        await trio.sleep(next(lasts))

    async with jobs(node):
        await trio.sleep(85)
    assert turns == pytest.approx([10, 20, 30, 60, 70, 80])  # 30 + 25 is 55: those of 40 and 50 are left out


async def test_at_once(autojump_clock):
    node, turns, begun = Node("test"), [], trio.current_time()

    @node.every(10, at_once=True, inline=True)
    def job():
        turns.append(trio.current_time() - begun)

    async with jobs(node):
        await trio.sleep(25)
    assert turns == pytest.approx([0, 10, 20])


async def test_what_a_turn_raises_costs_no_other(autojump_clock):
    node, turns = Node("test"), []

    @node.every(10)
    async def job():
        turns.append(trio.current_time())
        raise OSError("boom")

    with structlog.testing.capture_logs() as lines:
        async with jobs(node):
            await trio.sleep(35)
    assert len(turns) == len(failed(lines)) == 3
    assert "job (test_tasks.py, line " in failed(lines)[0]["function"]


async def test_of_a_node_that_drains_no_turn_begins_and_one_may_end(autojump_clock):
    node, told = Node("test"), []

    @node.every(10)
    async def job():
        told.append("begun")
        await trio.sleep(100)
        told.append("ended")

    @node.every(15)
    async def other():
        told.append("other")

    async with jobs(node) as (draining, running):
        await trio.sleep(12)
        draining.set()
        await running.wait_turns()
    assert told == ["begun", "ended"]


async def test_of_one_that_drains_before_it_is_ready_none_begins(autojump_clock):
    node, told = Node("test"), []

    @node.every(10, at_once=True)
    async def job():
        told.append("begun")

    async with jobs(node) as (draining, _):
        draining.set()
        await trio.sleep(15)
    assert told == []


async def test_a_drain_waits_for_the_turn_that_is_under_way():
    node, told, go = Node("test"), [], trio.Event()

    @node.every(3600, at_once=True)
    async def job():
        told.append("begun")
        await go.wait()
        await node.broadcast("done")

    async with linked(node) as session:
        await until(lambda: told)
        node.drain()
        await session.take(frames.Drain)
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 5 or session.untaken())
        assert not session.untaken()
        go.set()
        assert (await session.take_effect(frames.Broadcast)).payload == b"done"
        await session.take(frames.Bye)


async def test_it_begins_when_the_node_is_ready():
    node, seen = Node("test"), []

    @node.every(3600, at_once=True)
    async def job():
        seen.append(node.state.get("key"))

    async with linked(node, state=[frames.StateItem("key", b"\x05")], position=(1, 1)):
        await until(lambda: seen)
    assert seen == [5]


async def test_a_plain_one_runs_in_a_thread():
    node, told = Node("test"), []

    @node.every(3600, at_once=True)
    def job():
        told.append(threading.current_thread() is threading.main_thread())

    @node.every(3600, at_once=True, inline=True)
    def short():
        told.append(threading.current_thread() is threading.main_thread())

    async with linked(node):
        await until(lambda: len(told) == 2)
    assert sorted(told) == [False, True]


def test_what_is_no_job_is_refused():
    node = Node("test")
    for interval in (0, -1, float("nan"), float("inf"), "5", None, True):
        with pytest.raises(ConfigError, match="a number of seconds above 0"):
            node.every(interval)
    with pytest.raises(ConfigError, match='on="master"'):
        node.every(5, on="slave")
    with pytest.raises(ConfigError, match="expected a function"):
        node.every(5)(5)
    with pytest.raises(ConfigError, match="must take no argument"):
        node.every(5)(lambda one: one)


async def test_one_of_the_masters_runs_while_the_node_is_master_and_as_such():
    node, told = Node("test"), []

    @node.every(0.02, on="master")
    async def job():
        told.append(node.is_master)
        await node.broadcast("as the master")

    async with linked(node) as session:
        await until(lambda: len(session.heartbeats) > 3)
        assert told == []
        session.elect(7)
        [effect] = (await session.take(frames.Effects)).effects
        assert (effect.epoch, effect.effects[0].payload) == (7, b"as the master")
        await until(lambda: len(told) > 2)
        session.say(frames.Master("another", 8))
        await until(lambda: node.epoch == 8)
        turns, heartbeats = len(told), len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 3)
        assert len(told) == turns
    assert all(told)


async def test_one_that_was_cancelled_in_its_thread_does_not_overlap_with_its_next_turn():
    node, running, most, told, go = Node("test"), [], [], [], threading.Event()

    @node.every(0.01, on="master", at_once=True)
    def job():
        running.append(1)
        most.append(len(running))
        if not go.is_set():
            assert go.wait(PATIENCE)
            try:
                trio.from_thread.run(node.broadcast, "of the former term")
            except StaleError:
                told.append("refused")
        running.pop()

    async with linked(node) as session:
        session.elect(1)
        await until(lambda: most)
        session.say(frames.Master("another", 2))
        await until(lambda: not node.is_master)
        session.elect(3)
        await until(lambda: node.is_master)
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 3)
        assert len(most) == 1
        go.set()
        await until(lambda: len(most) > 2)
        assert set(most) == {1}
        assert told == ["refused"]
