"""The node that demo and chaos run: `holdfast node proxy.chaos.node:node --join ADDRESS`.

To a built-in client (proxy.chaos.messages.Ask) it replies with the request's own numbers and, in the same handler,
publishes them to the client's channel. To everybody else it echoes, and says who it is. While it is master it
testifies so (proxy.chaos.masters) to the process that started it, and announces it to the clients. If it is asked to,
it testifies which clients it is told of, too (proxy.chaos.openings). On SIGUSR1 it is slow for a while.
"""

import os
import secrets
import signal
import time
from collections import Counter
from types import FrameType

import trio

from holdfast import Client, Node, Request
from proxy.chaos.messages import (
    LABEL,
    MASTERS,
    OPENINGS_FD,
    TESTIMONY_FD,
    Announcement,
    Answer,
    Ask,
    Notification,
    decode_ask,
    encode,
)

SLOW_FOR = 2.0
SLOW_DELAY = 0.5
ACT_INTERVAL = 0.01
ANNOUNCE_EVERY = 10  # acts

node = Node("chaos", labels={LABEL: "yes"})

_run = secrets.randbits(48)  # this run of the process
_numbers: Counter[str] = Counter()
_slow_until = 0.0


def _become_slow(signum: int, frame: FrameType | None) -> None:
    global _slow_until
    _slow_until = time.monotonic() + SLOW_FOR


signal.signal(signal.SIGUSR1, _become_slow)


@node.on_request
async def handle(request: Request) -> bytes | str:
    ask = decode_ask(request.payload)
    if ask is None:
        again = f", attempt {request.attempt}" if request.redelivered else ""
        return f"{node.name} (pid {os.getpid()}{again}) got: {request.payload.decode(errors='replace')}"
    work = SLOW_DELAY if time.monotonic() < _slow_until else ask.work
    if work:
        await trio.sleep(work)
    for channel in ask.join:
        await node.join(request.client, channel)
    if ask.publish:
        await _publish(ask)
    return encode(Answer(ask.requestId, ask.client, node.name, request.attempt, request.client.id))


async def _publish(ask: Ask) -> None:
    # From here to the reply nothing is waited for, so numbers are in the order in which replies leave.
    _numbers[ask.publish] += 1
    notification = Notification(ask.publish, ask.client, ask.requestId, _run, _numbers[ask.publish])
    await node.notify(encode(notification), channels=[ask.publish], text=True)


@node.on_open
def opened(client: Client) -> None:
    _testify("opened", client)


@node.on_close
def closed(client: Client) -> None:
    _testify("closed", client)


def _testify(what: str, client: Client) -> None:
    openings = os.environ.get(OPENINGS_FD)
    if openings is not None:
        os.write(int(openings), f"{time.monotonic():.6f} {what} {os.getpid()} {client.id}\n".encode())


@node.on_master
async def act() -> None:
    epoch = node.epoch
    testimony = os.environ.get(TESTIMONY_FD)
    announcement = encode(Announcement(MASTERS, epoch))
    acts = 0
    while True:
        now = time.monotonic()
        # Asked after the clock was read. A process can be stopped at any point: it may have been since Trio last looked
        # at the lease's deadline, and then it is no longer master; or from here on, but it was master at `now`.
        if testimony is not None and node.is_master and node.epoch == epoch:
            # one write of so few bytes is whole, whoever else writes to the pipe
            os.write(int(testimony), f"{now:.6f} {epoch} {node.name}\n".encode())
        if acts % ANNOUNCE_EVERY == 0:
            await node.notify(announcement, channels=[MASTERS], text=True)
        acts += 1
        await trio.sleep(ACT_INTERVAL)
