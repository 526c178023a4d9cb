"""What clients can make a proxy hold together, by three ways, and what one beside them notices that is well-behaved."""

import gzip
import select
import socket
import struct
from pathlib import Path

import pytest
import trio
from websockets.trio.client import connect

from holdfast.testing import proxy

pytestmark = pytest.mark.slow

MIB = 1 << 20
BODY_BYTES = 8 * MIB  # client.max_body_bytes
BUDGET_BYTES = 128 * MIB
# Beside the budget: copies of requests on their way to the node, what one turn reads, and the allocator's own.
MAX_GROWTH = 2 * BUDGET_BYTES + 192 * MIB
SILENCE = 1.0
LAYERED = gzip.compress(gzip.compress(gzip.compress(bytes(BODY_BYTES - 1))))
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
ENCODED = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip, gzip, gzip\r\nContent-Length: %d\r\n\r\n"
MESSAGE = b"\x82\xff" + struct.pack(">Q", 1_000_000) + bytes(4) + bytes(1_000_000)

# How many come, and what each of them says. None of it is ever answered: the bodies have no end, the rest is too large
# for the node.
ATTACKS = {
    "bodies a byte short": (100, POST % BODY_BYTES + bytes(BODY_BYTES - 1)),
    "messages in flight": (10, UPGRADE + MESSAGE * 64),
    "gzip in three layers": (100, ENCODED % len(LAYERED) + LAYERED),
}


def peak_bytes(pid):
    """The most that it has had in memory at once."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


class Attacker:
    """Says as much as it can of what it has to say, and takes what it is told."""

    def __init__(self, address, data):
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.left = memoryview(data)
        self.told = b""
        self.is_over = False

    def go_on(self):
        """False: there is nothing that it could do, at present or at all."""
        moved = False
        try:
            while self.left:
                self.left = self.left[self.socket.send(self.left) :]
                moved = True
        except BlockingIOError:
            pass
        except OSError:
            self.left = self.left[:0]
        try:
            told = self.socket.recv(1 << 16)
            self.told += told
            self.is_over = not told
        except BlockingIOError:
            return moved
        except OSError:
            self.is_over = True
        return True


class Attack:
    """All of them, in a thread."""

    def __init__(self, address, count, data):
        self.attackers = [Attacker(address, data) for _ in range(count)]
        self.is_silent = False  # nothing has moved for a second
        self.is_done = False

    def run(self):
        by_fd = {each.socket.fileno(): each for each in self.attackers}
        poll = select.epoll()
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        while not self.is_done:
            ready = poll.poll(SILENCE)
            self.is_silent = not ready
            for fd, _ in ready:
                by_fd[fd].go_on()
                if by_fd[fd].is_over:
                    poll.unregister(fd)
        for each in self.attackers:
            each.socket.close()

    @property
    def refused(self):
        return sum(each.told.startswith(b"HTTP/1.1 503 ") for each in self.attackers)

    @property
    def ended(self):
        return sum(each.is_over for each in self.attackers)

    def count(self, is_done):
        return sum(is_done(each) or each.is_over or bool(each.told) for each in self.attackers)


async def behave(url, latencies):
    """A client that asks small things, one after the other, and gets each answer."""
    async with connect(url, compression=None, ping_interval=None) as client:
        while True:
            asked = f"question {len(latencies)}"
            begun = trio.current_time()
            await client.send(asked)
            assert await client.recv() == asked
            latencies.append(trio.current_time() - begun)
            await trio.sleep(0.001)


def has_come_to_its_end(name, attack, status):
    """Nothing more can come of it."""
    if not attack.is_silent:
        return False
    if name == "messages in flight":
        return status["in_flight"] >= len(attack.attackers)
    if name == "bodies a byte short":
        return attack.count(lambda each: not each.left) == len(attack.attackers)
    return attack.count(lambda each: False) + status["in_flight"] >= len(attack.attackers)


@pytest.mark.parametrize("name", ATTACKS)
async def test_what_all_hold_together_has_a_limit_and_others_notice_nothing(name):
    count, data = ATTACKS[name]
    async with proxy(client={"max_buffered_bytes": BUDGET_BYTES}, request={"timeout": "10m"}) as running:
        await running.node_process("tests.e2e.holder:node")
        host, _, port = running.url.removeprefix("ws://").rpartition(":")
        latencies = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(behave, running.url, latencies)
            while len(latencies) < 100:  # noqa: ASYNC110 - of another task, that has no event for it
                await trio.sleep(0.01)
            before = peak_bytes(running.process.pid)
            quiet = len(latencies)
            attack = Attack((host, int(port)), count, data)
            nursery.start_soon(trio.to_thread.run_sync, attack.run)
            await running.wait_until(lambda status: has_come_to_its_end(name, attack, status))
            during = sorted(latencies[quiet:])
            growth = peak_bytes(running.process.pid) - before
            refused, ended = attack.refused, attack.ended
            attack.is_done = True
            nursery.cancel_scope.cancel()
        print(
            f"\n{name}: {count} clients, {growth / MIB:.0f} MiB more, {refused} were told 503, {ended} ended; "
            f"{len(during)} questions of another one meanwhile, "
            f"p50 {during[len(during) // 2] * 1000:.1f} ms, p99 {during[len(during) * 99 // 100] * 1000:.1f} ms"
        )
        assert growth < MAX_GROWTH
        assert during
        if name == "messages in flight":
            assert (refused, ended) == (0, 0)  # they wait in their own kernels
        else:
            assert refused >= count // 2
