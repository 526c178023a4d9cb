"""Trio within asyncio: its beginning, its end, and what crosses meanwhile."""

import asyncio
import contextlib
import gc
import threading
from contextvars import ContextVar

import pytest
import trio

from holdfast import ConfigError, HoldfastError, LinkRefused, StaleError
from holdfast.asyncio import Node, hosts
from holdfast.node.threads import Threads
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from tests.holdfast.asyncio.guest import within_asyncio
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until

var = ContextVar("var", default="clean")


@contextlib.contextmanager
def proxy_beside():
    """A proxy that says welcome to whoever comes, in a thread with a run of Trio's own. Yields its address, and what
    has come: hellos, and "end" for each session that is over."""
    bound, come, stop = threading.Event(), [], threading.Event()

    async def main():
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            addresses.append(proxy.address)
            bound.set()
            nursery.start_soon(serve, proxy)
            while not stop.is_set():
                await trio.sleep(0.003)
            nursery.cancel_scope.cancel()

    async def serve(proxy):
        while True:
            session = await proxy.join(clients=[client()])
            come.append(session.hello.node)

    addresses = []
    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert bound.wait(PATIENCE)
    try:
        yield addresses[0], come
    finally:
        stop.set()
        thread.join(PATIENCE)


async def until_in_asyncio(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.003)


def test_a_cancelled_run_is_gone_at_once_and_may_begin_again():
    node, ended = Node("test"), []

    async def main(address, come):
        for round in range(2):
            running = asyncio.create_task(node.run([address]))
            await until_in_asyncio(lambda: len(come) > round)  # noqa: B023 - called at once
            assert node.statistics().proxies == 1
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert hosts._here.guest is None
            with pytest.raises(HoldfastError, match="does not run"):
                await node.notify("x", channels=["c"])
            ended.append(round)

    with proxy_beside() as (address, come):
        asyncio.run(main(address, come))
    assert ended == [0, 1]


def test_nodes_of_one_loop_share_trios_run():
    async def main(address, come):
        nodes = [Node("test", id=id) for id in ("a", "b")]
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(node.run([address])) for node in nodes]
            await until_in_asyncio(lambda: sorted(come) == ["a", "b"])
            nodes[0].drain()
            await asyncio.wait((runs[0],))
            await nodes[1].notify("still there", channels=["c"])
            assert not runs[1].done()
            nodes[1].drain()
        assert hosts._here.guest is None

    with proxy_beside() as (address, come):
        asyncio.run(main(address, come))


def test_who_begins_while_trio_ends_waits_for_that():
    async def main(address, come):
        first, second = Node("test", id="a"), Node("test", id="b")
        running = asyncio.create_task(first.run([address]))
        await until_in_asyncio(lambda: come == ["a"])
        guest = hosts._here.guest
        running.cancel()
        while guest.users:
            await asyncio.sleep(0)
        running_again = asyncio.create_task(second.run([address]))
        await until_in_asyncio(lambda: come == ["a", "b"])
        second.drain()
        await running_again

    with proxy_beside() as (address, come):
        asyncio.run(main(address, come))


def test_what_is_wrong_with_a_run_is_raised():
    with pytest.raises(ConfigError, match="can't connect to"):
        asyncio.run(Node("test").run(["nowhere"]))


@within_asyncio
async def test_a_refusal_is_raised():
    async with fake_proxy() as proxy, trio.open_nursery() as nursery:

        async def refuse():
            session = await proxy.accept()
            proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("wrong token", fatal=True)]))

        nursery.start_soon(refuse)
        with pytest.raises(LinkRefused, match="wrong token"):
            await Node("test").run([proxy.address])


# --- the crossings ----------------------------------------------------------------------------------------------------


def crossing(test):
    def run():
        async def main():
            async with hosts.guest() as crossing:
                await test(crossing)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@crossing
async def test_values_errors_and_variables_cross_to_trio(crossing):
    async def work(value):
        assert (hosts.is_trio(), var.get()) == (True, "mine")
        await trio.sleep(0)
        if value is None:
            raise ValueError("none")
        return value

    var.set("mine")
    assert not hosts.is_trio()
    assert await crossing.to_trio(work, 5) == 5
    with pytest.raises(ValueError, match="none"):
        await crossing.to_trio(work, None)
    assert sorted(await asyncio.gather(*(crossing.to_trio(work, number) for number in range(50)))) == list(range(50))


@crossing
async def test_cancellation_crosses_to_trio_and_waits_there(crossing):
    seen, begun = [], asyncio.Event()

    async def work():
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0)
            seen.append("ended")

    task = asyncio.create_task(crossing.to_trio(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended"]
    never = asyncio.create_task(crossing.to_trio(work))
    asyncio.get_running_loop().call_soon(never.cancel)  # it has been asked for, and has not begun
    with pytest.raises(asyncio.CancelledError):
        await never
    assert seen in (["ended"], ["ended", "ended"])


@crossing
async def test_what_is_cancelled_before_it_begins_there_is_ended_without_a_warning(crossing):
    began = []

    async def work():
        began.append(True)

    async def give_up():
        with trio.CancelScope() as scope:
            scope.cancel()
            await crossing.to_asyncio(work())
        return scope.cancelled_caught

    assert await crossing.to_trio(give_up)
    gc.collect()
    assert not began


@crossing
async def test_a_future_that_nobody_began_to_wait_for_is_cancelled_as_one_that_somebody_waits_for(crossing):
    """It may be a task: that of a function which begins one, and returns it."""
    task = asyncio.ensure_future(asyncio.sleep(PATIENCE))

    async def give_up():
        with trio.CancelScope() as scope:
            scope.cancel()
            await crossing.to_asyncio(task)
        return scope.cancelled_caught

    assert await crossing.to_trio(give_up)
    with pytest.raises(asyncio.CancelledError):
        await task


@crossing
async def test_cancellation_crosses_to_asyncio_and_waits_there(crossing):
    seen = []

    async def work():
        assert not hosts.is_trio()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("ended")

    async def give_up():
        with trio.move_on_after(0.01) as scope:
            await crossing.to_asyncio(work())
        return scope.cancelled_caught

    assert await crossing.to_trio(give_up)
    assert seen == ["ended"]


@crossing
async def test_who_refuses_to_be_cancelled_gives_its_value(crossing):
    async def work():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "all the same"

    async def give_up():
        with trio.move_on_after(0.01):
            value = await crossing.to_asyncio(work())
        return value

    assert await crossing.to_trio(give_up) == "all the same"


@crossing
async def test_a_cancellation_of_its_own_is_an_error(crossing):
    async def work():
        raise asyncio.CancelledError("by itself")

    async def wait():
        with pytest.raises(asyncio.CancelledError):
            await crossing.to_asyncio(work())
        return "told"

    assert await crossing.to_trio(wait) == "told"


@contextlib.asynccontextmanager
async def resource(seen):
    async with asyncio.timeout(PATIENCE):
        try:
            await asyncio.sleep(0)
            seen.append("opened")
            yield asyncio.current_task()
        except ValueError as error:
            seen.append(str(error))
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("closed")


@crossing
async def test_a_manager_of_asyncios_is_entered_from_trio(crossing):
    async def use(error):
        with trio.CancelScope() as scope:
            async with crossing.within_asyncio(resource(seen)) as task:
                seen.append(task.done())
                if error is None:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                if error:
                    raise ValueError(error)
        return scope.cancelled_caught

    seen = []
    assert not await crossing.to_trio(use, "")
    with pytest.raises(ValueError, match="wrong"):
        await crossing.to_trio(use, "wrong")
    assert await crossing.to_trio(use, None)
    one = ["opened", False]
    assert seen == [*one, "closed", *one, "wrong", "closed", *one, "closed"]


@crossing
async def test_a_manager_that_can_not_be_entered(crossing):
    @contextlib.asynccontextmanager
    async def broken():
        await asyncio.sleep(0)
        raise OSError("no database")
        yield

    async def use():
        async with crossing.within_asyncio(broken()):
            raise AssertionError

    with pytest.raises(OSError, match="no database"):
        await crossing.to_trio(use)


@crossing
async def test_threads_are_used_from_either_side(crossing):
    threads = Threads(1)
    assert await threads.run(threading.get_ident) != threading.get_ident()


def test_what_waits_in_trio_when_that_ends_is_told_so():
    async def main():
        async with hosts.guest() as crossing:
            begun = asyncio.Event()

            async def work():
                begun.set()
                await trio.sleep_forever()

            waiting = asyncio.create_task(crossing.to_trio(work))
            await begun.wait()
        with pytest.raises(StaleError, match="does not run"):
            await waiting
        with pytest.raises(HoldfastError, match="does not run"):
            await crossing.to_trio(work)

    asyncio.run(main())


@within_asyncio
async def test_functions_that_do_not_end_are_left_and_counted(monkeypatch):
    monkeypatch.setattr("holdfast.asyncio.crossing.END_TIMEOUT", 0.05)
    node, gate, begun = Node("test"), asyncio.Event(), []

    @node.on_request
    async def handle(request):
        begun.append(True)
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    async with linked(node, clients=[client()]) as session:
        session.request()
        await until(lambda: begun)
    assert node.statistics().in_flight == 1
    gate.set()
    await until(lambda: node.statistics().in_flight == 0)


def cancel_all():
    for task in asyncio.all_tasks():
        task.cancel()


@pytest.mark.parametrize("end", [cancel_all, lambda: asyncio.get_running_loop().stop()])
def test_whoever_ends_the_loop_from_within_is_told_of(end):
    """It was a traceback of the library's inside."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        end()
        await asyncio.sleep(10)

    async def main():
        async with linked(node, clients=[client()]) as session:
            session.request()
            await trio.sleep_forever()

    with pytest.raises(HoldfastError, match=r"cancels all of asyncio.all_tasks\(\), or calls loop.stop\(\)"):
        hosts.run(main)


def test_errors_of_what_runs_are_its_own():
    async def fail():
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        hosts.run(fail)
