"""What trials have in common: how long things took, by the proxies' own word; and the end, which must be good."""

import trio

from tests.net.rows import Row
from tests.net.world import World

QUIET = 1.0  # seconds of load before and after a fault
HELD = 6.0  # how long a fault holds of which nothing should come
PATIENCE = 10.0


async def fenced(one: World, since: float, *proxies: str) -> float:
    """Seconds until all of these say so."""
    return await one.until(lambda: all(one.is_fenced(name) for name in proxies), PATIENCE) - since


async def reduced(one: World, since: float, *proxies: str) -> float:
    """Seconds until these follow a record of just themselves."""
    return await one.until(lambda: all(one.members(name) == set(proxies) for name in proxies), PATIENCE) - since


async def emptied(one: World, since: float, proxy: str) -> float:
    """Seconds until it has no client."""
    place = one.proxies.index(proxy)
    return await one.until(lambda: not one.progress.joined[place], PATIENCE) - since


async def end(one: World, rows: list[Row], network: str, note: str = "", **times: float) -> Row:
    """Heal it, check what holds always (World.healed, World.finish), and write what came of it. times: Row's."""
    since = one.net.heal()
    healed = await one.healed(since)
    await trio.sleep(QUIET)
    seen, no_master = await one.finish()
    rows.append(Row(network, seen, no_master, healed, note=note, **times))
    return rows[-1]
