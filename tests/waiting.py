"""Waiting for what happens on sockets, in threads and in other processes: there is no event to wait for."""

import trio

# No test waits longer for anything, and none needs more than a fraction of it. A wait that succeeds costs nothing, so
# it is as long as a machine that is slow, busy or stopped for a while may need.
PATIENCE = 60.0


async def until(condition, what="the condition", interval=0.003):
    """Wait until `condition()` is true, and return what it is. It is asked again when the time is over: this process
    may have stood still."""
    with trio.move_on_after(PATIENCE):
        while not (result := condition()):  # noqa: ASYNC110 - there is none, see above
            await trio.sleep(interval)
        return result
    if result := condition():
        return result
    raise AssertionError(f"waited {PATIENCE} s for {what}")
