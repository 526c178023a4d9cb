"""5,000 subscribers of one channel, one never reads: what the others get, what that one is told, and the memory."""

import json
import os
import select
import socket
import struct
import time
from pathlib import Path

import pytest
import trio

from holdfast.protocols.close import Reason
from holdfast.testing import proxy

pytestmark = pytest.mark.slow

SUBSCRIBERS = 5000
MESSAGES = 100
MESSAGE_BYTES = 8000
MAX_OUTBOX_BYTES = 256 << 10
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


FRAME_BYTES = MESSAGE_BYTES + 4
EXPECTED = b"".join(
    b"\x81\x7e" + struct.pack(">H", MESSAGE_BYTES) + f"{number:06d}".ljust(MESSAGE_BYTES, ".").encode()
    for number in range(MESSAGES)
)


class Subscriber:
    """Joins, then compares each byte that comes with what is expected next."""

    def __init__(self, address, receive_buffer=0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(address)
        self.socket.sendall(UPGRADE)
        self.position = 0

    def join(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        self.socket.sendall(masked(b'{"join":true}'))
        assert self.socket.recv(8, socket.MSG_WAITALL) == b"\x81\x06joined"

    def take(self):
        data = self.socket.recv(1 << 17)
        assert data, f"closed after {self.position} bytes"
        assert data == EXPECTED[self.position : self.position + len(data)]
        self.position += len(data)
        return self.position == len(EXPECTED)


def resident_bytes(pid):
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE")


def close_frame(told):
    """The close frame after some whole messages, once all of it has come."""
    last = told[len(told) // FRAME_BYTES * FRAME_BYTES :]
    return last if last[:1] == b"\x88" and len(last) == 2 + last[1] else None


def run(address, proxy_pid):
    """In a thread: everything the clients do. Returns what the slow one was told, and the proxy's growth in memory."""
    subscribers = [Subscriber(address) for _ in range(SUBSCRIBERS - 1)]
    slow = Subscriber(address, receive_buffer=32768)
    asker = Subscriber(address)
    for subscriber in (*subscribers, slow):
        subscriber.join()
    by_fd = {subscriber.socket.fileno(): subscriber for subscriber in subscribers}
    poll = select.epoll()
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += asker.socket.recv(1)
    before = most = resident_bytes(proxy_pid)
    asker.socket.sendall(masked(json.dumps({"count": MESSAGES, "bytes": MESSAGE_BYTES}).encode()))
    missing = len(by_fd)
    deadline = time.monotonic() + 120
    while missing:
        assert time.monotonic() < deadline, f"{missing} subscribers have not got everything"
        for fd, _ in poll.poll(1.0, 1024):
            if by_fd[fd].take():
                poll.unregister(fd)
                missing -= 1
        most = max(most, resident_bytes(proxy_pid))
    assert asker.socket.recv(11, socket.MSG_WAITALL) == b"\x81\x09published"
    slow.socket.settimeout(60)
    told = bytearray()
    while close_frame(told) is None:
        told += slow.socket.recv(1 << 16)
    for subscriber in subscribers:
        assert subscriber.position == len(EXPECTED)
    for client in (*subscribers, slow, asker):
        client.socket.close()
    return bytes(told), most - before


async def test_one_that_never_reads_costs_the_others_nothing():
    settings = {
        "max_outbox_bytes": MAX_OUTBOX_BYTES,
        "send_buffer_bytes": 32 << 10,  # else the kernel alone takes megabytes for one that does not read
        "close_timeout": "60s",  # until it reads what it was told
        "ping_interval": 0,  # messages are all that comes, however long it takes
        "max_connections": SUBSCRIBERS + 100,
    }
    # Nobody is given up for the time in which a busy machine lets it wait: what it has flushed would be said again.
    node = {"heartbeat_timeout": "60s"}
    async with proxy(client=settings, request={"timeout": "10m"}, node=node) as running:
        await running.node_process("tests.e2e.publisher:node")
        host, _, port = running.url.removeprefix("ws://").rpartition(":")
        told, growth = await trio.to_thread.run_sync(run, (host, int(port)), running.process.pid)
        whole = len(told) // FRAME_BYTES  # messages in order, none cut, then the close frame with its code
        assert told.startswith(EXPECTED[: whole * FRAME_BYTES])
        assert whole < MESSAGES
        assert struct.unpack(">H", close_frame(told)[2:4])[0] == Reason.SLOW_CONSUMER.websocket
        print(
            f"\n{SUBSCRIBERS - 1} subscribers got {MESSAGES} messages of {MESSAGE_BYTES} B each, whole and in order; "
            f"the one that did not read got {whole} and close code {Reason.SLOW_CONSUMER.websocket}; "
            f"the proxy grew by {growth / 2**20:.1f} MiB"
        )
        assert growth < 64 << 20
