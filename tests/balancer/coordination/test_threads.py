import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from holdfast.balancer.coordination.base import CoordinationError
from holdfast.balancer.coordination.threads import StoreThread

LONG = 20.0


@pytest.fixture
def stuck():
    """An operation that is stuck until the event is set, also at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


async def test_returns_and_raises_what_the_operation_does():
    thread = StoreThread("store", LONG)
    assert await thread.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await thread.call(divmod, 7, 0)


async def test_the_event_loop_goes_on_meanwhile(stuck):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StoreThread("store", LONG).call, stuck.wait)
        await wait_all_tasks_blocked()
        stuck.set()


async def test_a_stuck_thread_is_waited_for_until_the_timeout_each_time(stuck):
    thread = StoreThread("store", 0.05)
    done = []
    for operation in (stuck.wait, done.append, done.append):
        with trio.fail_after(LONG), pytest.raises(CoordinationError, match=r"store: no answer within 0\.05 s"):
            await thread.call(operation, 1000)
    stuck.set()
    with trio.fail_after(LONG):
        while not done:
            try:
                await thread.call(done.append, "free")
            except CoordinationError:
                pass
    assert done == ["free"], "what had to wait and was given up is not done late"


async def test_what_was_given_up_is_over_before_the_next_begins(stuck):
    thread = StoreThread("store", LONG)
    done = []

    def slow():
        stuck.wait()
        done.append("given up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.call, slow)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.call, done.append, "next")
        await wait_all_tasks_blocked()
        assert done == []
        stuck.set()
    assert done == ["given up", "next"]


async def test_closes_though_cancelled():
    closed = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await StoreThread("store", LONG).close(lambda: closed.append(True))
    assert closed == [True]


async def test_closing_waits_for_a_stuck_thread_until_the_timeout(stuck):
    thread = StoreThread("store", 0.05)
    with pytest.raises(CoordinationError):
        await thread.call(stuck.wait)
    with trio.fail_after(LONG):
        await thread.close(pytest.fail)
