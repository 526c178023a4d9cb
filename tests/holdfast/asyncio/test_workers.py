"""The tasks in which handlers run, by themselves."""

import asyncio
import contextlib
import time

import trio
import trio.testing

import holdfast.asyncio.workers as workers_module
from holdfast.asyncio import hosts
from holdfast.asyncio.workers import Workers
from holdfast.node.workers import Job
from tests.waiting import PATIENCE


class Task(Job):
    def __init__(self, action):
        super().__init__()
        self.action = action


@contextlib.asynccontextmanager
async def working():
    async def handle(task):
        await task.action()

    workers = Workers(handle)
    async with hosts.guest() as crossing, asyncio.timeout(PATIENCE):
        running = asyncio.create_task(crossing.to_trio(workers.run, crossing))
        await crossing.to_trio(trio.testing.wait_all_tasks_blocked)
        yield workers
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert not workers._tasks


def test_jobs_that_need_not_wait_are_done_in_order_by_one_task():
    async def main():
        done, tasks = [], set()
        async with working() as workers:
            for number in range(50):

                async def action(number=number):
                    done.append(number)
                    tasks.add(asyncio.current_task())

                workers.put(Task(action))
            while workers.wake(0) or len(done) < 50:
                await asyncio.sleep(0)
        assert done == list(range(50))
        assert len(tasks) <= 2  # the leader, and the follower that it woke

    asyncio.run(main())


def test_a_job_that_waits_holds_up_none_of_its_slice():
    async def main():
        gate, done = asyncio.Event(), []

        async def wait():
            await gate.wait()
            done.append("waited")

        async def quick():
            done.append("quick")

        async with working() as workers:
            for action in (wait, wait, quick, wait, quick):
                workers.put(Task(action))
            workers.wake(0)
            while len(done) < 2:
                await asyncio.sleep(0)
            assert done == ["quick", "quick"]
            gate.set()
            while len(done) < 5:
                await asyncio.sleep(0)

    asyncio.run(main())


def test_a_task_that_its_job_has_cancelled_does_no_other():
    async def main():
        done = []

        async def cancel():
            asyncio.current_task().cancel()

        async def wait():
            await asyncio.sleep(0)
            done.append(True)

        async with working() as workers:
            for action in (cancel, wait, cancel, cancel, wait):
                workers.put(Task(action))
            workers.wake(0)
            while len(done) < 2:
                await asyncio.sleep(0)

    asyncio.run(main())


def test_the_loop_has_its_turn_after_a_slice(monkeypatch):
    monkeypatch.setattr(workers_module, "SLICE", 0.001)

    async def main():
        done = []

        async def action():
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            done.append(True)

        async with working() as workers:
            for _ in range(3):
                workers.put(Task(action))
            workers.wake(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(done) == 1
            while workers.wake(0) or len(done) < 3:
                await asyncio.sleep(0)

    asyncio.run(main())


def test_who_cancels_all_tasks_there_are_takes_no_job_along():
    async def main():
        done = asyncio.Event()

        async def action():
            done.set()

        async with working() as workers:
            for is_woken in (False, True):
                workers.put(Task(action))
                workers.wake(0)
                await done.wait()
                await asyncio.sleep(0)  # they are parked
                if is_woken:
                    done.clear()
                    workers.put(Task(action))
                    workers.wake(0)
                for task in list(workers._tasks):
                    task.cancel()
                await done.wait()

    asyncio.run(main())
