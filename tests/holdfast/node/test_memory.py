"""Links in memory keep to the numbers and the codec, as those of ZeroMQ do."""

import pytest
import trio

from holdfast import Node
from holdfast.node.memory import InProcess
from holdfast.protocols.nodes import frames
from tests.waiting import PATIENCE, until


class Recorder(InProcess):
    """Says welcome, and writes down what it hears."""

    def __init__(self):
        super().__init__()
        self.frames = []
        self.hellos = 0

    def heard(self, frames_heard):
        for frame in frames_heard:
            self.frames.append(frame)
            if isinstance(frame, frames.Hello):
                self.hellos += 1
                welcome = frames.Welcome(frames.VERSION, "p", 3600.0, 7200.0, 0, [])
                self.say(welcome, frames.State(1, 1, [], last=True))
            elif isinstance(frame, frames.Heartbeat):
                self.say(frames.Heartbeat(frame.stamp))


@pytest.fixture
async def proxy(nursery):
    proxy = Recorder()
    node = Node("test")
    node.on_request(lambda request: request.payload)
    with trio.fail_after(PATIENCE):
        await nursery.start(node.run, [proxy.address])
    proxy.node = node
    return proxy


async def said(proxy, kind):
    await until(lambda: any(isinstance(frame, kind) for frame in proxy.frames), str(kind))
    return next(frame for frame in proxy.frames if isinstance(frame, kind))


async def test_what_is_said_comes_in_batches_with_numbers(proxy):
    whose = frames.Client(1, "http", "a", "/", [])
    proxy.say(frames.HttpRequest(5, whose, 1, 1000, b"x", "GET", "/"))
    assert (await said(proxy, frames.HttpReply)).payload == b"x"


async def test_a_wrong_number_ends_the_session_and_the_next_begins_anew(proxy):
    first = proxy.pump
    first._said += 1  # one is lost
    proxy.say(frames.Peers([]))
    await until(lambda: proxy.hellos == 2, "another session")
    assert first.ended == "protocol error: expected batch 3, got 4"
    assert proxy.pump is not first


async def test_a_node_that_drains_says_goodbye(proxy):
    proxy.node.drain()
    assert await said(proxy, frames.Bye) == frames.Bye()
