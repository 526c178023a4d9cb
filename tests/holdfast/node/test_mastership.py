import time

import pytest
import structlog
import trio

from holdfast import Node, StaleError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until


class Masterly:
    """A node whose on_master says when it begins and ends, and runs `action` in it."""

    def __init__(self, action=trio.sleep_forever):
        self.node = Node("test", clients=True)
        self.events = []

        @self.node.on_master
        async def lead():
            self.events.append(("begin", self.node.epoch, self.node.is_master))
            try:
                await action()
            finally:
                self.events.append(("end", trio.current_time()))

    @property
    def begun(self):
        return [event[1] for event in self.events if event[0] == "begin"]

    @property
    def ended(self):
        return sum(event[0] == "end" for event in self.events)


async def test_on_master_begins_with_the_lease_and_not_before():
    master = Masterly()
    async with linked(master.node) as session:
        session.say(frames.Master(master.node.id, 3))
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 2)
        assert master.node.epoch == 3
        assert not master.node.is_master
        assert master.events == []
        session.elect(3)
        await until(lambda: master.events)
        assert master.events == [("begin", 3, True)]


async def test_being_elected_asks_for_the_lease_at_once():
    master = Masterly()
    async with linked(master.node, interval=60.0, timeout=120.0) as session:
        session.elect(1)
        await until(lambda: master.events)


async def test_it_ends_with_the_lease_though_nothing_comes():
    master = Masterly()
    async with linked(master.node, timeout=5.0) as session:
        session.elect(1, lease=0.3)
        await until(lambda: master.events)
        session.is_mute = True
        stamp = session.heartbeats[-1].stamp
        await until(lambda: master.ended)
        assert stamp <= master.events[-1][1] <= stamp + 0.3 + 0.2  # the last one answered is this or one before it
        assert not master.node.is_master


async def test_the_lease_counts_from_the_question():
    master = Masterly()
    async with linked(master.node, interval=60.0, timeout=120.0) as session:
        session.is_mute = True
        session.elect(1)
        await until(lambda: len(session.heartbeats) > 1)
        stamp = session.heartbeats[-1].stamp
        session.say(frames.Heartbeat(stamp, -1.0, 1, 0.4))
        await until(lambda: master.ended)
        assert stamp + 0.39 < master.events[-1][1] < stamp + 0.8


async def test_an_answer_that_took_longer_than_the_lease_is_none():
    master = Masterly()
    async with linked(master.node, interval=60.0, timeout=120.0) as session:
        session.is_mute = True
        session.elect(1)
        await until(lambda: len(session.heartbeats) > 1)
        stamp = session.heartbeats[-1].stamp
        session.say(frames.Heartbeat(stamp - 2.0, -1.0, 1, 1.0))
        session.open(client(1))  # when this has come, that has
        await until(lambda: 1 in master.node.clients)
        assert not master.node.is_master
        assert master.events == []


async def test_renewals_keep_it():
    master = Masterly()
    async with linked(master.node, interval=0.02) as session:
        session.elect(1, lease=0.3)
        await until(lambda: master.events)
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 40)
        assert master.begun == [1]
        assert master.ended == 0


async def test_another_master_ends_it():
    master = Masterly()
    async with linked(master.node) as session:
        session.elect(1)
        await until(lambda: master.events)
        session.elect(2, node="other")
        await until(lambda: master.ended)
        assert (master.node.epoch, master.node.is_master) == (2, False)
        session.epoch = 2
        session.say(frames.Master(master.node.id, 1))  # of an older epoch: not heard
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 2)
        assert (master.node.epoch, master.node.is_master) == (2, False)
        session.elect(3)
        await until(lambda: master.begun == [1, 3])


async def test_a_new_epoch_of_the_same_master_begins_anew():
    master = Masterly()
    async with linked(master.node) as session:
        session.elect(1)
        await until(lambda: master.begun == [1])
        session.elect(2)
        await until(lambda: master.begun == [1, 2])
        assert master.ended == 1


async def test_nobody_is_master():
    master = Masterly()
    async with linked(master.node) as session:
        session.elect(1)
        await until(lambda: master.events)
        session.elect(1, node="")
        await until(lambda: master.ended)
        assert not master.node.is_master


async def test_what_a_master_does_carries_the_epoch():
    async def action():
        await master.node.notify("from the master", channels=["room"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(master.node.join, 7, "room")

    master = Masterly(action)
    async with linked(master.node, clients=[client()]) as session:
        session.elect(4)
        notify = frames.Notify(b"from the master", True, ["room"])
        assert await session.take_effect(frames.AsMaster) == frames.AsMaster(4, [notify])
        assert await session.take_effect(frames.AsMaster) == frames.AsMaster(4, [frames.Join(7, "room")])
        await master.node.leave(7, "room")  # by another task: nothing of a master
        assert await session.take_effect(frames.Leave) == frames.Leave(7, "room")


async def test_a_master_that_is_too_fast_is_slowed_too():
    published = []

    async def action():
        for number in range(10 * FIRST_WINDOW):
            await master.node.notify(b"fast", channels=["room"])
            published.append(number)
        await trio.sleep_forever()

    master = Masterly(action)
    async with linked(master.node, clients=[client()]) as session:
        session.acknowledges = False
        session.elect(4)
        for _ in range(FIRST_WINDOW):
            await session.take(frames.Effects)
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 1)
        assert len(published) == FIRST_WINDOW
        session.say(frames.Ack(FIRST_WINDOW))
        await session.take(frames.Effects)


async def test_a_node_that_was_stopped_does_nothing_more_as_master():
    """It finds out by its clock, in the very step in which it goes on: nothing has arrived, no other task has run."""

    async def action():
        await master.node.notify("before", channels=["room"])
        session.is_mute = True  # the proxy is in this process, and would go on as well
        time.sleep(0.5)  # noqa: ASYNC251 - as SIGSTOP and SIGCONT do
        await master.node.notify("after", channels=["room"])

    master = Masterly(action)
    async with linked(master.node, timeout=5.0) as session:
        session.elect(1, lease=0.3)
        assert (await session.take_effect(frames.AsMaster)).effects[0].payload == b"before"
        await until(lambda: master.ended)
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 2)
        assert session.untaken() == []


async def test_a_task_that_outlives_its_term_is_refused():
    errors = []
    go = trio.Event()

    async with trio.open_nursery() as background:

        async def later():
            await go.wait()
            try:
                await master.node.notify("late", channels=["room"])
            except StaleError as error:
                errors.append(str(error))

        async def action():
            if master.node.epoch == 1:
                background.start_soon(later)
            await trio.sleep_forever()

        master = Masterly(action)
        async with linked(master.node) as session:
            session.elect(1)
            await until(lambda: master.events)
            session.elect(2)
            await until(lambda: master.begun == [1, 2])
            go.set()
            await until(lambda: len(errors) == 1)
            assert "epoch 1" in errors[0]
            assert session.untaken() == []


@pytest.mark.parametrize("error", [ValueError("try again"), SystemExit(1)], ids=repr)
async def test_on_master_that_raises_begins_anew_and_one_that_returns_does_not(error):
    tries = []

    async def action():
        tries.append(True)
        if len(tries) < 3:
            raise error

    master = Masterly(action)
    with structlog.testing.capture_logs() as logs:
        async with linked(master.node) as session:
            session.elect(1)
            await until(lambda: master.ended == 3)
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 10)
            assert master.ended == 3
            assert master.node.is_master
    assert sum(line["event"] == "on_master_failed" for line in logs) == 2


async def test_drain_stops_it_before_the_proxy_hears_of_that():
    go = trio.Event()

    async def action():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                await go.wait()

    master = Masterly(action)
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(master.node.run, [proxy.address])
            session = await proxy.join()
            session.elect(1)
            await until(lambda: master.events)
            master.node.drain()
            await until(lambda: not master.node.is_master)
            assert session.untaken() == []
            go.set()
            await session.take(frames.Drain)
            assert master.ended == 1
            await session.take(frames.Bye)


async def test_a_drained_node_stops_before_it_gives_its_mastership_back_for_good():
    go = trio.Event()

    async def action():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                await go.wait()

    master = Masterly(action)
    async with linked(master.node) as session:
        session.elect(1)
        await until(lambda: master.events)
        session.is_drained = True
        await until(lambda: not master.node.is_master)
        assert not any(isinstance(frame, frames.Drain) for frame in session.untaken())
        go.set()
        await session.take(frames.Drain)
        assert master.ended == 1
        session.elect(2)
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 3)
        assert not master.node.is_master


async def test_the_next_hello_tells_the_epoch():
    async with linked(Node("test")) as session:
        session.elect(7, node="other")
        session.proxy.say_raw(session.identity, b"\xc1")
        assert (await session.proxy.join()).hello.epoch == 7


def test_before_a_run():
    node = Node("test")
    assert (node.is_master, node.epoch) == (False, 0)


@pytest.mark.parametrize("times", [1, 3])
async def test_several_functions_run_together(times):
    node = Node("test")
    running = []
    for number in range(times):

        @node.on_master
        async def lead(number=number):
            running.append(number)
            await trio.sleep_forever()

    async with linked(node) as session:
        session.elect(1)
        await until(lambda: sorted(running) == list(range(times)))
