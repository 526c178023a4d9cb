"""What every hub and link of nodes promises (balancer.links.base), over real sockets and in memory."""

import os

import pytest
import trio
import zmq

from holdfast.balancer.links.batches import cut
from holdfast.balancer.links.memory import MemoryHub
from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.protocols.nodes.frames import (
    Cancel,
    Heartbeat,
    Hello,
    Refused,
    Reply,
    decode_from_proxy,
    encode_batch,
    encode_frame,
)
from tests.waiting import until


class Keeper:
    """A gateway that keeps what it is told."""

    def __init__(self):
        self.links = []
        self.hellos = []
        self.batches = []
        self.losses = []
        self.refuse = None

    def hello(self, link, hello):
        self.hellos.append(hello)
        self.links.append(link)
        if self.refuse:
            link.close(self.refuse, fatal=True)

    def received(self, link, batch):
        self.batches.append(batch)

    def lost(self, link, why):
        self.losses.append((link, why))


class ZeromqPeer:
    def __init__(self, address):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.IDENTITY, b"T" + os.urandom(15))
        self._socket.connect(address)
        self._sent = 0
        self._heard = []
        self.refused = None

    def say(self, *frames):
        self._sent += 1
        self.say_raw(encode_batch(self._sent, frames))

    def say_raw(self, data):
        self._socket.send(data)

    @property
    def heard(self):
        while self._socket.poll(0):
            data = self._socket.recv()
            if data:
                for frame in decode_from_proxy(data)[1]:
                    if isinstance(frame, Refused):
                        self.refused = frame
                    else:
                        self._heard.append(frame)
        return self._heard

    def vanish(self):
        self._socket.close(linger=0)
        self._context.destroy(linger=0)


class Rig:
    """A hub, its gateway, and peers that dial it."""

    def __init__(self, hub, gateway, dial):
        self.hub = hub
        self.gateway = gateway
        self._dial = dial
        self._peers = []

    def dial(self):
        self._peers.append(self._dial())
        return self._peers[-1]

    def settle(self):
        self.hub.pump(trio.current_time())

    async def until(self, condition):
        def settled():
            self.settle()
            return condition()

        if not condition():
            await until(settled, interval=0.001)

    async def joined(self):
        peer = self.dial()
        before = len(self.gateway.links)
        peer.say(Hello(1, "n", "n", 1, 1))
        await self.until(lambda: len(self.gateway.links) > before)
        return peer, self.gateway.links[-1]


@pytest.fixture(params=["zeromq", "memory"])
async def rig(request):
    gateway = Keeper()
    if request.param == "memory":
        hub = MemoryHub(gateway)
        yield Rig(hub, gateway, hub.dial)
        return
    hub = ZeromqHub(gateway, max_batch_bytes=1 << 20, max_backlog_bytes=1 << 20)
    (address,) = hub.open(["tcp://127.0.0.1:*"])
    peers = []

    def dial():
        peers.append(ZeromqPeer(address))
        return peers[-1]

    try:
        async with trio.open_nursery() as nursery:
            rig = Rig(hub, gateway, dial)
            nursery.start_soon(hub.watch, rig.settle)
            yield rig
            nursery.cancel_scope.cancel()
    finally:
        for peer in peers:
            peer.vanish()
        hub.close()


async def test_hello_begins_a_session_and_frames_keep_their_order_both_ways(rig):
    peer, link = await rig.joined()
    for number in range(50):
        peer.say(Heartbeat(float(number)))
        link.send(Cancel(number, 1))
        link.send(Cancel(number, 2))
    await rig.until(lambda: len(rig.gateway.batches) == 50)
    assert [batch[0].stamp for batch in rig.gateway.batches] == [float(n) for n in range(50)]
    await rig.until(lambda: len(peer.heard) == 100)
    assert list(peer.heard) == [Cancel(number, attempt) for number in range(50) for attempt in (1, 2)]


async def test_frames_that_come_with_hello_come_after_it(rig):
    peer = rig.dial()
    peer.say(Hello(1, "n", "n", 1, 1), Heartbeat(7.0))
    await rig.until(lambda: rig.gateway.batches)
    assert rig.gateway.batches == [[Heartbeat(7.0)]]


async def test_last_seen_is_the_time_of_the_pump(rig):
    peer, link = await rig.joined()
    peer.say(Heartbeat(1.0))
    before = trio.current_time()
    await rig.until(lambda: rig.gateway.batches)
    assert link.last_seen >= before


@pytest.mark.parametrize(
    "first", [b"\xc1", encode_batch(1, [Heartbeat(1.0)]), encode_batch(2, [Hello(1, "n", "n", 1, 1)])]
)
async def test_what_is_no_hello_is_refused(rig, first):
    peer = rig.dial()
    peer.say_raw(first)
    await rig.until(lambda: peer.heard or peer.refused)
    assert not peer.refused.fatal
    assert rig.gateway.hellos == []


async def test_gateway_may_close_at_hello(rig):
    rig.gateway.refuse = "no"
    peer = rig.dial()
    peer.say(Hello(1, "n", "n", 1, 1), Heartbeat(1.0))
    await rig.until(lambda: peer.heard or peer.refused)
    assert peer.refused == Refused("no", True)
    assert rig.gateway.batches == []


async def test_peer_that_vanishes_is_lost_once(rig):
    peer, link = await rig.joined()
    peer.vanish()
    await rig.until(lambda: rig.gateway.losses)
    for _ in range(10):
        rig.settle()
    assert [lost for lost, _ in rig.gateway.losses] == [link]


async def test_closed_link_tells_the_peer_and_takes_nothing_more(rig):
    peer, link = await rig.joined()
    link.close("enough")
    link.close("again")
    await rig.until(lambda: peer.heard or peer.refused)
    assert peer.refused == Refused("enough")
    peer.refused = None
    peer.say(Heartbeat(1.0))
    await rig.until(lambda: peer.heard or peer.refused)
    assert rig.gateway.batches == []
    assert rig.gateway.losses == []


async def test_broken_link_is_told_as_lost_after_the_call(rig):
    peer, link = await rig.joined()
    link.break_off("bad")
    assert rig.gateway.losses == []
    await rig.until(lambda: rig.gateway.losses)
    assert rig.gateway.losses == [(link, "bad")]
    await rig.until(lambda: peer.heard or peer.refused)


@pytest.mark.parametrize("data", [b"\xc1", encode_batch(1, [Heartbeat(1.0)]), encode_batch(9, [Heartbeat(1.0)])])
async def test_garbage_or_a_wrong_number_ends_the_session(rig, data):
    peer, link = await rig.joined()
    peer.say_raw(data)
    await rig.until(lambda: rig.gateway.losses)
    assert rig.gateway.losses[0][0] is link
    await rig.until(lambda: peer.heard or peer.refused)


async def test_unsent_is_what_no_transport_has_had(rig):
    peer, link = await rig.joined()
    link.send(Cancel(1, 1))
    assert link.unsent() == [Cancel(1, 1)]
    rig.settle()
    await rig.until(lambda: peer.heard)
    assert link.unsent() == []


async def test_a_peer_that_does_not_read_blocks_its_link_only_and_is_lost_in_the_end():
    """libzmq's own buffers are large: what it refuses is kept, counted, and then too much."""
    gateway = Keeper()
    hub = ZeromqHub(gateway, max_batch_bytes=1 << 20, max_backlog_bytes=3_000_000)
    (address,) = hub.open(["tcp://127.0.0.1:*"])
    rig = Rig(hub, gateway, lambda: ZeromqPeer(address))
    deaf, deaf_link = await rig.joined()
    good, good_link = await rig.joined()
    payload = os.urandom(100_000)
    sent = 0
    while not deaf_link.is_blocked:
        deaf_link.send(payload_frame(payload))
        rig.settle()
        sent += 1
        assert sent < 1500
    good_link.send(Cancel(5, 5))
    await rig.until(lambda: good.heard)
    while not gateway.losses:
        deaf_link.send(payload_frame(payload))
        rig.settle()
        sent += 1
        assert sent < 1500, "64 batches wait here, 1,000 at the peer, and what the kernel has between"
    assert len(deaf_link.unsent()) >= 30
    assert gateway.losses[0][0] is deaf_link
    assert "does not read" in gateway.losses[0][1]
    for peer in (deaf, good):
        peer.vanish()
    hub.close()


async def test_a_blocked_link_goes_on_in_order_when_the_peer_reads_again():
    gateway = Keeper()
    hub = ZeromqHub(gateway, max_batch_bytes=1 << 20, max_backlog_bytes=1 << 30)
    (address,) = hub.open(["tcp://127.0.0.1:*"])
    rig = Rig(hub, gateway, lambda: ZeromqPeer(address))
    peer, link = await rig.joined()
    payload = os.urandom(100_000)
    sent = 0
    while sent < 10_000 and (not link.is_blocked or sent % 50):
        link.send(payload_frame(payload, sent))
        rig.settle()
        sent += 1
    assert link.is_blocked
    await rig.until(lambda: len(peer.heard) == sent)
    assert [frame.id for frame in peer.heard] == list(range(sent))
    peer.vanish()
    hub.close()


def payload_frame(payload, number=0):
    from holdfast.protocols.nodes.frames import Request

    return Request(number, 1, 1, 1000, payload, False)


def test_cutting_keeps_the_order_and_encodes_each_frame_once(monkeypatch):
    encoded = []

    def encode(frame):
        encoded.append(frame)
        return encode_frame(frame)

    monkeypatch.setattr("holdfast.balancer.links.batches.encode_frame", encode)
    frames = [payload_frame(bytes(size), number) for number, size in enumerate([10, 900, 5000, 10, 10, 980, 1])]
    frames[3] = encode_frame(frames[3])
    pieces = [decode_from_proxy(encode_batch(1, piece))[1] for piece in cut(frames, 1000)]
    assert [[frame.id for frame in piece] for piece in pieces] == [[0, 1], [2], [3, 4], [5], [6]]
    assert len(encoded) == len(frames) - 1


async def test_a_large_turn_leaves_in_several_batches_and_in_order(rig):
    peer, link = await rig.joined()
    payload = os.urandom(300_000)
    for number in range(40):
        link.send(payload_frame(payload, number))
    await rig.until(lambda: len(peer.heard) == 40)
    assert [frame.id for frame in peer.heard] == list(range(40))
    assert link.unsent() == []
    if isinstance(rig.hub, ZeromqHub):
        assert link.sent > 10


async def test_large_batches_are_taken_in_several_turns(rig):
    if not isinstance(rig.hub, ZeromqHub):
        pytest.skip("memory has no turns")
    peer, _ = await rig.joined()
    for _ in range(8):
        peer.say(Reply(1, 1, os.urandom(700_000), False))
    taken = []
    while len(rig.gateway.batches) < 8:
        before = len(rig.gateway.batches)
        rig.settle()
        taken.append(len(rig.gateway.batches) - before)
        await trio.lowlevel.checkpoint()
    assert max(taken) == 2


async def test_an_address_that_is_taken_is_an_error_that_names_it():
    first = ZeromqHub(Keeper(), max_batch_bytes=1, max_backlog_bytes=1)
    second = ZeromqHub(Keeper(), max_batch_bytes=1, max_backlog_bytes=1)
    try:
        (address,) = first.open(["tcp://127.0.0.1:*"])
        with pytest.raises(OSError, match=r"can't bind tcp://127\.0\.0\.1:"):
            second.open(["tcp://127.0.0.1:*", address])
        assert second.context.closed  # an open socket in it would keep the process from ending
    finally:
        first.close()
