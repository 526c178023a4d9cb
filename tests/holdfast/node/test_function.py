"""How an author's function is called, whatever it looks like."""

import threading
from functools import partial, wraps

import pytest
import trio

from holdfast import Node
from holdfast.node.function import Function
from holdfast.node.threads import Threads
from tests.holdfast.node.fake_proxy import linked
from tests.waiting import until


def where(*arguments, **named):
    return threading.current_thread() is threading.main_thread(), arguments, named


async def where_async(*arguments, **named):
    await trio.lowlevel.checkpoint()
    return where(*arguments, **named)


def only_begins(*arguments, **named):
    return where_async(*arguments, **named)


@wraps(where)
def wrapped(*arguments, **named):
    return where(*arguments, **named)


@pytest.mark.parametrize(
    ("function", "inline", "is_here"),
    [
        (where, False, False),
        (where, True, True),
        (where_async, False, True),
        (where_async, True, True),
        (only_begins, False, True),
        (only_begins, True, True),
        (wrapped, False, False),
        (partial(where), False, False),
        (partial(where_async), False, True),
    ],
)
async def test_each_kind_is_called_where_it_should_be(function, inline, is_here):
    made = Function(function, inline=inline, threads=Threads(1))
    assert await made(1, 2, key=3) == (is_here, (1, 2), {"key": 3})
    first = Function(function, inline=inline, threads=Threads(1), count=1)
    assert await first(1, 2) == (is_here, (1,), {})


async def test_what_needs_no_thread_is_the_function_itself():
    """Nothing of ours is between: a message costs no call more than the author's."""
    assert Function(where_async, threads=Threads(1)).begin is where_async
    assert Function(where, inline=True, threads=Threads(1)).begin is where


async def test_so_many_run_at_once_and_a_new_run_begins_anew():
    threads, running, most = Threads(1), [], []
    function = Function(lambda: (running.append(1), most.append(len(running)), running.pop()), threads=threads)

    async def several():
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(function)

    await several()
    assert max(most) == 1
    gate = threading.Event()
    try:
        with trio.CancelScope() as scope:
            begun = trio.Event()
            token = trio.lowlevel.current_trio_token()

            def hang():
                token.run_sync_soon(begun.set)
                gate.wait()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(Function(hang, threads=threads))
                await begun.wait()
                scope.cancel()
        threads.begin_anew(1)
        await function()
    finally:
        gate.set()


async def test_a_plain_function_of_the_master_runs_in_a_thread():
    node, told = Node("test"), []

    @node.on_master
    def master():
        told.append(threading.current_thread() is threading.main_thread())

    async with linked(node) as session:
        session.elect(1, lease=10.0)
        await until(lambda: told == [False])
