"""A process that contends with others for a store: `python -m tests.balancer.coordination.contender SETTINGS WHAT ...`.

It begins when it is told to by a line. What it prints is flushed line by line, so that it is known when it is killed.
"""

import sys
import time

import msgspec
import trio

from holdfast.balancer.coordination.base import CoordinationError, Coordinator, MasterRecord
from holdfast.balancer.coordination.store import open_store
from holdfast.balancer.settings import StoreSettings


def say(*what) -> None:
    print(*what, flush=True)


async def elect(coordinator: Coordinator, me: str, times: str) -> None:
    """Win `times` epochs, and say each."""
    for _ in range(int(times)):
        won = None
        while won is None:
            present = await coordinator.master()
            mine = MasterRecord(present.epoch + 1, me)
            if await coordinator.swap_master(present.epoch, mine) == mine:
                won = mine.epoch
        say(won)


async def hold(coordinator: Coordinator, me: str, ttl: str) -> None:
    """Put a card, say when that began, and do nothing more."""
    start = time.monotonic()
    await coordinator.put_card(me, b"card", float(ttl))
    say(start)
    await trio.sleep_forever()


async def answer(coordinator: Coordinator, me: str) -> None:
    """At each line win an epoch, and say which; or what went wrong."""
    while await trio.to_thread.run_sync(sys.stdin.readline):
        try:
            await coordinator.put_card(me, b"card", 100.0)
            present = await coordinator.master()
            await coordinator.swap_master(present.epoch, MasterRecord(present.epoch + 1, me))
            say(present.epoch + 1)
        except CoordinationError as error:
            say(error)


async def main(settings: str, what: str, *args: str) -> None:
    coordinator = open_store(msgspec.json.decode(settings, type=StoreSettings))
    say("ready")
    await trio.to_thread.run_sync(sys.stdin.readline)
    try:
        await {"elect": elect, "hold": hold, "answer": answer}[what](coordinator, *args)
    except CoordinationError as error:
        say(error)
        sys.exit(1)
    await coordinator.aclose()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
