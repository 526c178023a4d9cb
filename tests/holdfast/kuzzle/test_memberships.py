"""Subscriptions and their ends at the same moment, at one node and at two: one order, whichever."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from holdfast import State
from holdfast.kuzzle import realtime
from holdfast.kuzzle.errors import KuzzleError
from holdfast.kuzzle.expiring import REVOKED
from holdfast.kuzzle.rooms import PREFIX
from holdfast.kuzzle.wire import Request
from tests.holdfast.kuzzle.test_realtime import CHEAP, HERE, publish, subscribe
from tests.holdfast.kuzzle.world import kuzzle
from tests.waiting import PATIENCE


class Gate:
    """Holds up the first who comes."""

    def __init__(self):
        self.reached, self.open = trio.Event(), trio.Event()

    async def __call__(self):
        self.reached.set()
        await self.open.wait()


class Scene:
    """A client of `world`, as nodes see it. What is done for it by hand is not with a response, but at once."""

    def __init__(self, world, client):
        self.world = world
        self.client = client
        self.answers = {}

    async def enter(self):
        self.room = await subscribe(self.client)
        [(self.key, _)] = self.world.nodes[0].state.items(PREFIX)
        self.id = int(self.key.split("/")[3], 16)

    def request(self, action, flush=None, **more):
        body = CHEAP if action == "subscribe" else {"roomId": self.room["roomId"]}
        return Request("q", "realtime", action, dict(HERE), body, client=self.id, origin=action, **more)

    def realtime(self, node):
        return self.world.apis[node].realtime()

    async def do(self, node, action, flush=None, **more):
        request = self.request(action, **more)
        request.flush = flush or self.done
        try:
            await self.realtime(node).actions()[action](request)
            self.answers[action] = 200
        except KuzzleError as error:
            self.answers[action] = error.status

    async def done(self):
        """What nodes did to channels so far: one proxy, and it does what comes in one session in order."""
        for node in self.world.nodes:
            await node.count("x")

    @property
    def is_in(self):
        return self.world.proxy.app.channels.count(self.room["channel"]) == 1

    async def check(self, is_in):
        """The entry, the channel and what the client hears say the same."""
        await self.done()
        for node in self.world.nodes:
            await self.world.proxy.until(lambda node=node: (self.key in node.state) == is_in, "the entry")
        assert self.is_in == is_in
        await publish(self.client, price=1)
        assert await self.client.told_nothing() != is_in


@pytest.fixture
async def scene(monkeypatch):
    monkeypatch.setattr(realtime, "EXPIRY_INTERVAL", 1e9)  # the master would hide what others do wrong
    with trio.fail_after(3 * PATIENCE):
        async with kuzzle(nodes=2) as world, world.client() as client:
            scene = Scene(world, client)
            await scene.enter()
            yield scene


def late(monkeypatch, node, name, gate):
    """What the node does so comes to the proxy later: as if that was frozen, or the node was."""
    does = getattr(node, name)

    async def do(*given, **more):
        await gate()
        await does(*given, **more)

    monkeypatch.setattr(node, name, do)


@pytest.mark.parametrize("node", [0, 1])
async def test_who_subscribes_while_he_leaves_is_in_or_out_and_knows(scene, node, monkeypatch):
    gate = Gate()

    async def flush():
        await scene.done()
        await gate()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.do, 0, "unsubscribe", flush)
        await gate.reached.wait()  # out of the channel, and his entry is there
        if node == 0:
            nursery.start_soon(scene.do, 0, "subscribe")
            await wait_all_tasks_blocked()  # its turn comes after the other's
        else:
            await scene.do(1, "subscribe")
        gate.open.set()
    assert scene.answers == {"unsubscribe": 200, "subscribe": 200}
    await scene.check(True)


@pytest.mark.parametrize("node", [0, 1])
async def test_who_leaves_before_he_has_joined_is_in_or_out_and_knows(scene, node, monkeypatch):
    await scene.do(0, "unsubscribe")
    gate = Gate()
    late(monkeypatch, scene.world.nodes[0], "join", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.do, 0, "subscribe")
        await gate.reached.wait()  # his entry is there
        await scene.world.proxy.until(lambda: scene.key in scene.world.nodes[1].state)
        if node == 0:
            nursery.start_soon(scene.do, 0, "unsubscribe")
            await wait_all_tasks_blocked()
        else:
            await scene.do(1, "unsubscribe")
        gate.open.set()
    assert scene.answers == {"unsubscribe": 200, "subscribe": 200}
    await scene.check(False)


async def log_out(scene, node):
    api = scene.world.apis[node]
    await scene.world.nodes[node].state.set(REVOKED + "t", {"until": 1e12, "value": {"client": scene.id}})
    await api.realtime().token_ended(Request(token="t", flush=scene.done))


@pytest.mark.parametrize("node", [0, 1])
async def test_who_logs_out_before_he_has_joined_hears_nothing(scene, node, monkeypatch):
    await scene.do(0, "unsubscribe")
    gate = Gate()
    late(monkeypatch, scene.world.nodes[0], "join", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: scene.do(0, "subscribe", token="t", token_ends=1e12))
        await gate.reached.wait()
        await scene.world.proxy.until(lambda: scene.key in scene.world.nodes[1].state)
        if node == 0:
            nursery.start_soon(log_out, scene, 0)
            await wait_all_tasks_blocked()
        else:
            await log_out(scene, 1)
        gate.open.set()
    assert scene.answers["subscribe"] == 401
    await scene.check(False)


async def test_who_has_logged_out_before_his_entry_is_made_hears_nothing(scene):
    """The logout has found nothing to end."""
    await scene.do(0, "unsubscribe")
    await log_out(scene, 1)
    await scene.world.proxy.until(lambda: REVOKED + "t" in scene.world.nodes[0].state)
    await scene.do(0, "subscribe", token="t", token_ends=1e12)
    assert scene.answers["subscribe"] == 401
    assert scene.key not in scene.world.nodes[0].state, "and waits for no master to look"
    await scene.check(False)


async def test_whose_entry_is_ended_elsewhere_as_soon_as_it_is_made_is_out(scene, monkeypatch):
    await scene.do(0, "unsubscribe")
    gate, node = Gate(), scene.world.nodes[0]
    state, make = node.state, State.set

    async def made(this, key, *given):
        version = await make(this, key, *given)
        if this is state:
            await gate()
        return version + 1000 if this is state else version  # as where what it was to apply was lost with a proxy

    monkeypatch.setattr(State, "set", made)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.do, 0, "subscribe")
        await gate.reached.wait()
        await scene.world.proxy.until(lambda: scene.key in scene.world.nodes[1].state)
        await scene.do(1, "unsubscribe")
        await scene.world.proxy.until(lambda: scene.key not in state)
        gate.open.set()
    await scene.check(False)


async def test_what_a_lost_node_has_joined_late_is_out_when_its_token_is_no_good(scene):
    """The logout has found the entry, and left the channel before the join had come."""
    await scene.do(0, "unsubscribe")
    await scene.do(0, "subscribe", token="t", token_ends=1e12)
    version = scene.world.nodes[0].state.version(scene.key)
    await log_out(scene, 1)
    await scene.world.nodes[0].join(scene.id, scene.room["channel"], version=version)
    await scene.check(False)


async def test_who_logs_out_before_his_entry_says_with_which_token_hears_nothing(scene, monkeypatch):
    """The logout has found the entry of another subscription to the same."""
    gate = Gate()
    late(monkeypatch, scene.world.nodes[0], "join", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: scene.do(0, "subscribe", token="t", token_ends=1e12))
        await gate.reached.wait()
        await log_out(scene, 1)
        gate.open.set()
    assert scene.answers["subscribe"] == 401
    await scene.check(False)


async def test_a_logout_keeps_what_is_made_anew_with_another_token(scene, monkeypatch):
    await scene.do(0, "subscribe", token="t", token_ends=1e12)
    gate = Gate()
    late(monkeypatch, scene.world.nodes[1], "leave", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_out, scene, 1)
        await gate.reached.wait()
        await scene.do(0, "subscribe", token="other", token_ends=1e12)
        gate.open.set()
    await scene.check(True)


async def test_who_comes_waits_for_none_of_his_own_messages(scene):
    """What he has published to many rooms may take seconds; meanwhile others end his subscriptions."""
    telling = scene.realtime(0)._telling[scene.id] = trio.Lock()
    async with telling:
        await scene.do(0, "unsubscribe")
        await scene.do(0, "subscribe")
    del scene.realtime(0)._telling[scene.id]
    await scene.check(True)
