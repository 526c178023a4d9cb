"""The node that demo and chaos run: `holdfast node chaos.node:node --join ADDRESS`.

To a built-in client (chaos.messages.Ask) it replies with the request's own numbers and, in the same handler,
publishes them to the client's channel. To everybody else it echoes, and says who it is. While it is master it
testifies so (chaos.masters) to the process that started it, and announces it to the clients. If it is asked to,
it testifies which clients it is told of, too (chaos.openings). On SIGUSR1 it is slow for a while; on SIGUSR2 it
shows the state that it has.
"""

import os
import secrets
import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import trio

from holdfast import Client, Node, Request, StateError
from holdfast.chaos.flood import CHANNEL as FLOOD
from holdfast.chaos.flood import ORDER_VARIABLE, PATH, PUBLISHED_FD, Orders, Published, pack
from holdfast.chaos.messages import (
    LABEL,
    MASTERS,
    OPENINGS_FD,
    STATES_VARIABLE,
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
FLOOD_INTERVAL = 0.01

node = Node("chaos", labels={LABEL: "yes"})

_run = secrets.randbits(48)  # this run of the process
_numbers: Counter[str] = Counter()
_slow_until = 0.0
_is_flooding = False


def _become_slow(signum: int, frame: FrameType | None) -> None:
    global _slow_until
    _slow_until = time.monotonic() + SLOW_FOR


def _show_state(signum: int, frame: FrameType | None) -> None:
    """Whole, by rename."""
    directory = os.environ.get(STATES_VARIABLE)
    if directory is not None:
        file = Path(directory, f"{os.getpid()}.json")
        temporary = file.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(dict(node.state.items())))
        temporary.rename(file)


signal.signal(signal.SIGUSR1, _become_slow)
signal.signal(signal.SIGUSR2, _show_state)


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
    answer = Answer(ask.requestId, ask.client, node.name, request.attempt, request.client.id)
    if ask.write:
        try:
            answer.version = await _write(request, ask)
            answer.is_done = True
        except StateError:
            pass  # nobody put it in order in time: the reply says that it was not done
    return encode(answer)


async def _write(request: Request, ask: Ask) -> int:
    """The version of the key that this node then has; 0: it has none. Raises StateError."""
    number, attempt = ask.number, request.attempt

    def raised(value: dict[str, Any]) -> dict[str, Any]:
        by = value["by"]
        if any(other == number and theirs != attempt for other, theirs in by):
            return value  # another attempt was faster
        return {"count": value["count"] + 1, "by": [*by, (number, attempt)]}

    match ask.write:
        case "count":
            await node.state.update(ask.key, raised, {"count": 0, "by": []})
        case "delete":
            await node.state.delete(ask.key)
        case "own":
            await node.state.set(ask.key, number, owner=request.client)
        case _:
            await node.state.set(ask.key, number)
    return node.state.version(ask.key)


async def _publish(ask: Ask) -> None:
    # From here to the reply nothing is waited for, so numbers are in the order in which replies leave.
    _numbers[ask.publish] += 1
    notification = Notification(ask.publish, ask.client, ask.requestId, _run, _numbers[ask.publish])
    await node.notify(encode(notification), channels=[ask.publish], text=True)


async def _flood(file: Path, pipe: int) -> None:
    """Publish what is ordered (chaos.flood), each as soon as it may. A task of the process, not of a handler."""
    orders = Orders(file)
    order = orders.look()
    said, attempted, due, last = Published(os.getpid(), _run), 0.0, 0.0, time.monotonic()
    while True:
        await trio.sleep(FLOOD_INTERVAL)
        before, order, now = order, orders.look(), time.monotonic()
        is_new = order.number != before.number
        fresh = order.rate * (now - last) + order.burst * is_new
        attempted, due, last = attempted + fresh, (fresh if is_new else due + fresh), now
        if due < 1:
            continue
        said.begun = said.begun or now
        for _ in range(int(due)):
            said.published += 1
            message = pack(_run, said.begun, said.published, time.monotonic())
            await node.notify(message, channels=[FLOOD], text=False)
            due -= 1
            if time.monotonic() - last > FLOOD_INTERVAL and order.rate:
                break  # there may be another order
        said.attempted = int(attempted)
        os.write(pipe, msgspec.json.encode(said) + b"\n")


@node.on_open(inline=True)
def opened(client: Client) -> None:
    global _is_flooding
    order, pipe = os.environ.get(ORDER_VARIABLE), os.environ.get(PUBLISHED_FD)
    if order is not None and pipe is not None and not _is_flooding:
        _is_flooding = True
        trio.lowlevel.spawn_system_task(_flood, Path(order), int(pipe))
    _testify("opened", client)


@node.on_close(inline=True)
def closed(client: Client) -> None:
    _testify("closed", client)


def _testify(what: str, client: Client) -> None:
    openings = os.environ.get(OPENINGS_FD)
    if openings is not None and client.path != PATH:
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
