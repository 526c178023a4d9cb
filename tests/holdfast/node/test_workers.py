import itertools
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar

import trio
import trio.testing

import holdfast.node.workers as workers_module
from holdfast.node.workers import SLICE, Job, Workers

var = ContextVar("var", default="clean")


class Task(Job):
    def __init__(self, action):
        super().__init__()
        self.action = action


@asynccontextmanager
async def working(handle=None):
    async def do(task):
        await task.action()

    workers = Workers(handle or do)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workers.run)
        yield workers
        nursery.cancel_scope.cancel()


async def work_off(workers):
    while workers.wake(trio.current_time()):
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()


async def test_jobs_that_need_not_wait_are_done_in_order_by_one_task():
    done, tasks = [], set()
    async with working() as workers:
        for number in range(50):

            async def action(number=number):
                done.append(number)
                tasks.add(trio.lowlevel.current_task())

            workers.put(Task(action))
        await work_off(workers)
    assert done == list(range(50))
    assert len(tasks) <= 2  # the leader, and the follower that it woke


async def test_a_job_that_waits_holds_up_none_of_its_slice(monkeypatch):
    monkeypatch.setattr(workers_module, "SLICE", 60.0)
    done = []
    gate = trio.Event()

    async def wait():
        await gate.wait()
        done.append("waited")

    async def go():
        done.append("went")

    async with working() as workers:
        for action in (wait, go, wait, go):
            workers.put(Task(action))
        workers.wake(trio.current_time())
        await trio.testing.wait_all_tasks_blocked()
        assert done == ["went", "went"]
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
    assert done == ["went", "went", "waited", "waited"]


async def test_workers_are_used_again():
    tasks = set()

    async def wait():
        tasks.add(trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()

    async with working() as workers:
        for _ in range(20):
            workers.put(Task(wait))
            await work_off(workers)
    assert len(tasks) <= 2


async def test_each_job_has_a_context_of_its_own():
    seen = []

    async def action():
        seen.append(var.get())
        var.set("dirty")
        await trio.lowlevel.checkpoint()
        seen.append(var.get())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    async def child():
        seen.append("child " + var.get())

    async with working() as workers:
        for _ in range(2):
            workers.put(Task(action))
            await work_off(workers)
    assert seen == ["clean", "dirty", "child dirty"] * 2
    assert var.get() == "clean"


async def test_cancelling_ends_the_job_and_not_its_worker():
    done = []
    entered = trio.Event()

    async def wait():
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            done.append("cancelled")

    async def go():
        await trio.lowlevel.checkpoint()
        done.append("went")

    async with working() as workers:
        job = Task(wait)
        workers.put(job)
        await work_off(workers)
        await entered.wait()
        workers.cancel(job, "test")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            workers.put(Task(go))
        await work_off(workers)
    assert done == ["cancelled", "went", "went", "went"]


async def test_a_job_that_ends_well_in_spite_of_its_cancellation_harms_no_other():
    done = []
    gate = trio.Event()

    async def stubborn():
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await gate.wait()
        done.append("stubborn")

    async def go():
        await trio.lowlevel.checkpoint()
        done.append("went")

    async with working() as workers:
        job = Task(stubborn)
        workers.put(job)
        await work_off(workers)
        workers.cancel(job, "test")
        gate.set()
        workers.put(Task(go))
        await work_off(workers)
    assert sorted(done) == ["stubborn", "went"]


async def test_a_job_that_was_cancelled_before_its_turn_is_not_done():
    done = []

    async def go():
        done.append("went")

    async with working() as workers:
        first, second = Task(go), Task(go)
        workers.put(first)
        workers.put(second)
        workers.cancel(first, "test")
        await work_off(workers)
    assert done == ["went"]


async def test_a_slice_ends_so_that_others_get_their_turn():
    turns = []

    async def busy():
        end = trio.current_time() + SLICE / 4
        while trio.current_time() < end:
            pass
        turns.append("job")

    async with working() as workers:
        for _ in range(12):
            workers.put(Task(busy))
        while workers.wake(trio.current_time()):
            await trio.lowlevel.checkpoint()
            turns.append("other")
        await trio.testing.wait_all_tasks_blocked()
    assert turns.count("job") == 12
    longest = max(len(list(run)) for kind, run in itertools.groupby(turns) if kind == "job")
    assert longest < 10


async def test_a_scope_that_a_job_has_left_open_ends_that_job_and_no_worker():
    done = []

    async def leaves_it_open():
        async def parts():
            with trio.CancelScope() as scope:
                yield scope  # noqa: ASYNC101, ASYNC119 - what it is about

        async with aclosing(parts()) as scopes:
            async for scope in scopes:
                scope.cancel()
                await trio.lowlevel.checkpoint()

    async def works():
        await trio.lowlevel.checkpoint()
        done.append(True)

    with trio.fail_after(10):
        async with working() as workers:
            for action in (works, leaves_it_open, works, leaves_it_open, works):
                workers.put(Task(action))
                await work_off(workers)
    assert done == [True, True, True]


async def test_who_comes_behind_many_that_wait_does_not_wait_a_turn_for_each(monkeypatch):
    """The first time, and when there are workers enough."""
    monkeypatch.setattr(workers_module, "SLICE", 60.0)
    turns, tasks = 0, set()

    class Turns(trio.abc.Instrument):
        def before_task_step(self, task):
            nonlocal turns
            turns += task is mine

    mine = trio.lowlevel.current_task()
    async with working() as workers:
        for _ in range(2):
            gate, last = trio.Event(), trio.Event()

            async def wait(gate=gate):
                tasks.add(trio.lowlevel.current_task())
                await gate.wait()

            async def go(last=last):
                last.set()

            for _ in range(64):
                workers.put(Task(wait))
            workers.put(Task(go))
            trio.lowlevel.add_instrument(instrument := Turns())
            turns = 0
            while not last.is_set():
                workers.wake(trio.current_time())
                await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(instrument)
            assert turns <= 20, "each job that waits doubles what is woken, and a new worker takes two turns"
            gate.set()
            await trio.testing.wait_all_tasks_blocked()
    assert len(tasks) >= 64


async def test_there_are_few_workers_for_few_that_wait():
    async with working() as workers:
        for number in range(200):

            async def action(number=number):
                if number % 50 == 0:
                    await trio.testing.wait_all_tasks_blocked()

            workers.put(Task(action))
        await work_off(workers)
        await trio.testing.wait_all_tasks_blocked()
        assert len(workers._idle) <= 10


async def test_many_that_begin_at_once_leave_the_links_their_turn(monkeypatch):
    """What each of them does before it waits is in one slice."""
    monkeypatch.setattr(workers_module, "SLICE", 0.0)
    begun = 0
    gate = trio.Event()

    async def action():
        nonlocal begun
        begun += 1
        await gate.wait()

    async with working() as workers:
        for _ in range(64):
            workers.put(Task(action))
        more = 1
        while more:
            before = begun
            more = workers.wake(trio.current_time() - 1.0)
            await trio.testing.wait_all_tasks_blocked()
            assert begun - before == 1
            more = begun < 64
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
