"""What trials have in common: how long things took, by the proxies' own word; and the end, which must be good."""

from collections.abc import Sequence

import trio

from tests.net.rows import Row
from tests.net.world import World

QUIET = 1.0  # seconds of load before and after a fault
ELECTION = 6.0  # at most from the loss of a master until another acts
HELD = 6.0  # how long a fault holds of which nothing should come
PATIENCE = 10.0


async def measure(one: World, since: float, cut_off: Sequence[str], rest: Sequence[str] = ()) -> dict[str, float]:
    """Seconds until those that are cut off are fenced, and have no clients; and until the rest has evicted them."""
    conditions = {"fenced": lambda: one.are_fenced(*cut_off), "closed": lambda: one.is_empty(*cut_off)}
    if rest:
        conditions["evicted"] = lambda: one.follow(*rest)
    times = {}

    async def time(name: str) -> None:
        times[name] = await one.until(conditions[name], PATIENCE) - since

    async with trio.open_nursery() as nursery:
        for name in conditions:
            nursery.start_soon(time, name)
    return times


async def end(one: World, rows: list[Row], network: str, note: str = "", **times: float) -> Row:
    """Heal it, check what holds always (World.healed, World.finish), and write what came of it. times: Row's."""
    since = one.net.heal()
    healed = await one.healed(since)
    await trio.sleep(QUIET)
    seen, no_master = await one.finish()
    rows.append(Row(network, seen, no_master, healed, note=note, **times))
    return rows[-1]
