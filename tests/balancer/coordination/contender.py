"""A process that contends with others for a store: `python -m tests.balancer.coordination.contender SETTINGS WHAT ...`.

It begins when it is told to by a line. What it prints is flushed line by line, so that it is known when it is killed.
"""

import os
import sys
import time

import msgspec
import trio

from balancer.coordination.base import CoordinationError, Coordinator, MasterRecord
from balancer.coordination.store import open_store
from balancer.settings import StoreSettings

PAUSE = 0.002  # outside of the mutex and within, so that others come in between if they can
LONG = 60.0


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


async def enter(coordinator: Coordinator, me: str, times: str, journal: str) -> None:
    """Take the mutex `times` times; the journal has a line of when it is taken and one of when it is given back."""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND)
    for _ in range(int(times)):
        number = None
        while number is None:
            await trio.sleep(PAUSE)
            number = await coordinator.lock(me, LONG)
        os.write(file, f"{number} {me} in\n".encode())
        await trio.sleep(PAUSE)
        os.write(file, f"{number} {me} out\n".encode())
        assert await coordinator.unlock(number)
    os.close(file)


async def hold(coordinator: Coordinator, me: str, ttl: str) -> None:
    """Take the mutex and put a card, say the number and when that began, and do nothing more."""
    start = time.monotonic()
    number = await coordinator.lock(me, float(ttl))
    await coordinator.put_card(me, b"card", float(ttl))
    say(number, start)
    await trio.sleep_forever()


async def main(settings: str, what: str, *args: str) -> None:
    coordinator = open_store(msgspec.json.decode(settings, type=StoreSettings))
    say("ready")
    await trio.to_thread.run_sync(sys.stdin.readline)
    try:
        await {"elect": elect, "enter": enter, "hold": hold}[what](coordinator, *args)
    except CoordinationError as error:
        say(error)
        sys.exit(1)
    await coordinator.aclose()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
