"""However many handlers go on at the same moment, everything else has its turn between two slices of their work."""

from itertools import groupby, pairwise

import trio

from holdfast.kuzzle.time_slice import SLICE, TimeSlice


class Clock:
    def __init__(self):
        self.now = 1.0

    def __call__(self):
        return self.now


async def test_a_young_slice_is_gone_on_with():
    clock = Clock()
    time_slice = TimeSlice(clock)
    await time_slice.turn()
    with trio.CancelScope() as scope:
        scope.cancel()  # a checkpoint would be the end of it
        clock.now += SLICE / 2
        await time_slice.turn()
    assert not scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        clock.now += SLICE
        await time_slice.turn()
    assert scope.cancelled_caught


async def test_many_at_once_have_one_slice_after_the_other():
    clock, order, done = Clock(), [], []
    time_slice = TimeSlice(clock)

    async def work(number):
        await time_slice.turn()
        clock.now += SLICE
        order.append(number)

    async def others():
        while True:
            done.append(len(order))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        async with trio.open_nursery() as workers:
            for number in range(50):
                workers.start_soon(work, number)
        nursery.cancel_scope.cancel()
    assert sorted(order) == list(range(50))
    # Two: Trio may run it at the beginning of one pass over all tasks, and at the end of the next one.
    assert max(after - before for before, after in pairwise(done)) <= 2


async def test_who_has_a_slice_uses_it_up_though_others_wait():
    clock, order = Clock(), []
    time_slice = TimeSlice(clock)

    async def work(name):
        for _ in range(8):
            await time_slice.turn()
            clock.now += SLICE / 3.5  # so it is over after four
            order.append(name)

    async with trio.open_nursery() as workers:
        workers.start_soon(work, "one")
        workers.start_soon(work, "other")
    slices = [len(list(same)) for _, same in groupby(order)]
    assert slices == [4, 4, 4, 4]


async def come_in_order():
    """Two come at once; the one whose turn is first starts another."""
    time_slice, order = TimeSlice(Clock()), []

    async def work(name):
        await time_slice.turn()
        order.append(name)
        if len(order) == 1:
            workers.start_soon(work, "newcomer")

    async with trio.open_nursery() as workers:
        workers.start_soon(work, "one")
        workers.start_soon(work, "other")
    return order


async def test_nobody_passes_who_waits():
    for _ in range(30):  # Trio chooses which of two tasks runs first
        assert (await come_in_order())[2] == "newcomer"
