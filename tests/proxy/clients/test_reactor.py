"""The reactor by itself: sockets whose owners only note when they were heard."""

import os
import socket
from contextlib import asynccontextmanager

import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from holdfast import masses
from holdfast.masses import MOST
from holdfast.proxy.clients import reactor as reactor_module
from holdfast.proxy.clients.reactor import EVENTS_PER_LOOK, NEWCOMERS_PER_TURN, READABLE, WRITABLE, Reactor


class Pair:
    """A descriptor for the reactor, and its other end."""

    def __init__(self, world):
        self.world = world
        self.near, self.far = socket.socketpair()
        self.fd = self.near.fileno()
        self.turn = None  # the one in which it was heard last
        self.events = 0

    def say(self):
        self.far.send(b".")

    def on_ready(self, events, now):
        self.events = events
        self.turn = self.world.reactor.turns
        self.world.heard.append(self)
        if events & READABLE:
            os.read(self.fd, 16)
        if len(self.world.heard) == self.world.expected:
            self.world.all_heard.set()

    def on_crash(self):
        raise AssertionError("nothing here crashes")


class World:
    def __init__(self):
        self.reactor = Reactor()
        self.pairs = []
        self.heard = []
        self.expected = 0
        self.all_heard = trio.Event()

    def pair(self):
        self.pairs.append(Pair(self))
        return self.pairs[-1]

    def newcomers(self, count):
        pairs = [self.pair() for _ in range(count)]
        for pair in pairs:
            self.reactor.register_newcomer(pair.fd, pair)
            pair.say()
        return pairs

    async def until_heard(self, count):
        """Run the reactor until so many events have come."""
        self.heard.clear()
        self.expected = count
        self.all_heard = trio.Event()
        with trio.fail_after(10.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.reactor.run)
                await self.all_heard.wait()
                nursery.cancel_scope.cancel(reason="all were heard")


@asynccontextmanager
async def a_world():
    world = World()
    try:
        yield world
    finally:
        world.reactor.close()
        for pair in world.pairs:
            pair.near.close()
            pair.far.close()


async def test_who_is_known_does_not_wait_for_a_storm_of_newcomers():
    async with a_world() as world:
        known = world.pair()
        world.reactor.register(known.fd, known)
        newcomers = world.newcomers(5 * NEWCOMERS_PER_TURN)
        known.say()  # after all of them
        await world.until_heard(len(newcomers) + 1)
        assert world.heard.index(known) <= NEWCOMERS_PER_TURN
        turns = [pair.turn for pair in newcomers]
        assert max(turns.count(turn) for turn in turns) == NEWCOMERS_PER_TURN


async def test_a_newcomer_that_was_heard_is_as_known_as_others():
    async with a_world() as world:
        (former,) = world.newcomers(1)
        await world.until_heard(1)
        world.newcomers(5 * NEWCOMERS_PER_TURN)
        former.say()
        await world.until_heard(5 * NEWCOMERS_PER_TURN + 1)
        assert world.heard.index(former) <= NEWCOMERS_PER_TURN


async def test_a_newcomer_that_goes_unheard_leaves_its_number_to_another():
    async with a_world() as world:
        gone, other = world.newcomers(2)
        number = gone.fd
        world.reactor.unregister(number)
        gone.near.close()
        (next_one,) = world.newcomers(1)
        assert next_one.fd == number
        await world.until_heard(2)
        assert set(world.heard) == {other, next_one}


async def test_a_newcomer_may_want_to_write_before_it_is_heard():
    async with a_world() as world:
        pair = world.pair()
        world.reactor.register_newcomer(pair.fd, pair)
        world.reactor.modify(pair.fd, WRITABLE)
        await world.until_heard(1)
        assert pair.events == WRITABLE


async def test_what_another_task_leaves_over_is_gone_on_with_at_once():
    async with a_world() as world:
        left = 0
        done = trio.Event()

        def step(now):
            nonlocal left
            if left:
                left -= 1
                if not left:
                    done.set()
            return left > 0

        world.reactor.at_turn_end(step)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.reactor.run)
            await wait_all_tasks_blocked()  # the loop waits, and nothing will come
            left = 5
            world.reactor.settle()
            assert left == 4, "not all at once: others are to have their turns between"
            with trio.fail_after(10.0):
                await done.wait()
            nursery.cancel_scope.cancel(reason="all is done")


async def test_a_step_that_fails_stops_neither_the_others_nor_the_loop(capsys):
    reactor = Reactor()
    turns = []

    def broken(now):
        raise (ValueError if len(turns) % 2 else ZeroDivisionError)("a fault of ours")

    def well(now):
        turns.append(now)
        return len(turns) < 10

    reactor.at_turn_end(broken)
    reactor.at_turn_end(well)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        await wait_all_tasks_blocked()
        assert len(turns) == 10
        nursery.cancel_scope.cancel()
    reactor.close()
    assert capsys.readouterr().out.count("step_crashed") == 2  # once for each kind


async def test_who_raises_and_can_not_even_be_closed_is_heard_no_more_and_ends_nobody_else(capsys):
    class Hopeless(Pair):
        def on_ready(self, events, now):
            raise ValueError("a fault of ours")

        def on_crash(self):
            raise KeyError("one more")

    async with a_world() as world:
        hopeless, well = Hopeless(world), world.pair()
        world.pairs.append(hopeless)
        for pair in (hopeless, well):
            world.reactor.register(pair.fd, pair)
        for _ in range(2):
            hopeless.say()
            well.say()
            await world.until_heard(1)
        assert capsys.readouterr().out.count("handler_crashed") == 2  # its fault, and that of its end


async def test_a_turn_takes_what_is_ready_for_so_long_and_the_next_one_goes_on(monkeypatch):
    monkeypatch.setattr(reactor_module, "READING_TIME", 0.0)  # over when the clock is looked at, however fast this is
    async with a_world() as world:
        pairs = [world.pair() for _ in range(2 * EVENTS_PER_LOOK + 5)]
        for pair in pairs:
            world.reactor.register(pair.fd, pair)
            pair.say()
        await world.until_heard(len(pairs))
        turns = [pair.turn for pair in pairs]
        assert [turns.count(turn) for turn in sorted(set(turns))] == [EVENTS_PER_LOOK, EVENTS_PER_LOOK, 5]
        assert world.reactor.events >= len(pairs)


class Faulty(Pair):
    def on_ready(self, events, now):
        super().on_ready(events, now)
        raise RuntimeError("a fault of ours")

    def on_crash(self):
        pass


async def test_a_fault_that_many_meet_is_few_tracebacks(monkeypatch):
    monkeypatch.setattr(masses, "INTERVAL", 1e6)
    async with a_world() as world:
        for _ in range(MOST + 5):
            world.pairs.append(pair := Faulty(world))
            world.reactor.register(pair.fd, pair)
            pair.say()
        with capture_logs() as lines:
            await world.until_heard(MOST + 5)
            monkeypatch.setattr(masses, "INTERVAL", 0.0)
            world.reactor.masses.tick(world.reactor.now)
    assert [line["event"] for line in lines] == ["handler_crashed"] * MOST + ["lines_left_out"]
    assert (lines[-1]["of"], lines[-1]["count"]) == ("handler_crashed", 5)
