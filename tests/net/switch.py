"""The switch: `python -m tests.net.switch SEED NAME=IP=FD ...` passes IP packets on between TUN devices, by rules.

A rule is for an ordered pair of hosts, so what goes one way may be lost and what comes back not. Without a rule a
packet passes at once. It looks at nothing but addresses, and answers nobody: what is dropped is dropped in silence, as
by a cable that is pulled. Lines of JSON on stdin are commands, each answered by a line on stdout when it is in force.
"""

import heapq
import os
import select
import sys
import time
from random import Random

import msgspec
from msgspec import Struct

PACKET_BYTES = 65536
BURST = 64  # packets of one host, before the others get their turn
MAX_WAITING = 100_000  # delayed packets: the buffers of a long line


class Rule(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """loss, duplicate, reorder: shares of packets. delay, jitter: seconds; jitter is added, evenly from 0 to that.

    reorder: packets that overtake, because they are not delayed (as netem's). Loss 1 is a cut.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0


class Command(Struct, forbid_unknown_fields=True):
    """Set a rule (none: pass everything) for pairs (from, to). Without pairs only the answer is wanted."""

    pairs: list[tuple[str, str]] = []
    rule: Rule | None = None


class Answer(Struct):
    """at: the monotonic clock. Packets since the start. late: how late a delayed one left, in seconds, at most."""

    at: float
    passed: int
    dropped: int
    late: float


CUT = Rule(loss=1.0)


class Switch:
    def __init__(self, seed: int, ports: list[tuple[str, bytes, int]]) -> None:
        self._random = Random(seed).random
        self._names = {fd: name for name, _, fd in ports}
        self._fds = {address: fd for _, address, fd in ports}
        self._rules: dict[tuple[str, str], Rule] = {}
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._passed = self._dropped = 0
        self._late = 0.0
        self._input = b""
        self._epoll = select.epoll()
        for fd in self._names:
            self._epoll.register(fd, select.EPOLLIN)
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Until stdin ends."""
        while True:
            waiting = self._waiting
            timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else -1
            for fd, _ in self._epoll.poll(timeout):
                if fd in self._names:
                    self._read(fd)
                elif not self._obey(fd):
                    return
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                due, _, fd, packet = heapq.heappop(waiting)
                self._late = max(self._late, now - due)
                self._write(fd, packet)

    def _read(self, fd: int) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(fd, PACKET_BYTES)
            except BlockingIOError:
                return
            to = self._fds.get(packet[16:20]) if packet[0] >> 4 == 4 else None  # IPv6 looks for neighbours
            if to is not None:
                self._pass(self._rules.get((self._names[fd], self._names[to])), to, packet)

    def _pass(self, rule: Rule | None, to: int, packet: bytes) -> None:
        if rule is None:
            self._write(to, packet)
            return
        random = self._random
        if random() < rule.loss or len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        for _ in range(2 if random() < rule.duplicate else 1):
            delay = 0.0 if random() < rule.reorder else rule.delay + rule.jitter * random()
            if delay:
                self._count += 1
                heapq.heappush(self._waiting, (time.monotonic() + delay, self._count, to, packet))
            else:
                self._write(to, packet)

    def _write(self, fd: int, packet: bytes) -> None:
        try:
            os.write(fd, packet)
        except OSError:  # its queue is full, or it goes down: a switch loses packets then
            self._dropped += 1
        else:
            self._passed += 1

    def _obey(self, fd: int) -> bool:
        """False: there is nobody any more who commands."""
        data = os.read(fd, PACKET_BYTES)
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            command = msgspec.json.decode(line, type=Command)
            for pair in command.pairs:
                if command.rule is None:
                    self._rules.pop(pair, None)
                else:
                    self._rules[pair] = command.rule
            answer = Answer(time.monotonic(), self._passed, self._dropped, self._late)
            os.write(sys.stdout.fileno(), msgspec.json.encode(answer) + b"\n")
        return bool(data)


def main(seed: str, *ports: str) -> None:
    """ports: NAME=IP=FD."""
    parts = [port.split("=") for port in ports]
    Switch(int(seed), [(name, bytes(map(int, ip.split("."))), int(fd)) for name, ip, fd in parts]).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
