"""A notification to all members of a channel with history, beside one without: what the log adds to a delivery.

The log is in the proxy's memory, or in a file of SQLite, which a thread of the proxy waits for: the next notification
is sent when all have the last, so each is appended by itself, which is the dearest way.
"""

from functools import partial

from bench.limits import limit
from bench.systems.base import CHANNEL
from bench.systems.holdfast import holdfast
from bench.works.base import PER_SECOND, Goal, Work
from bench.works.fan_out import CPU, P50, P99, fan_out

PLAIN = "no history"
SIZES = (1000, 5000)
RULES = f"""
[[channel]]
match = "{CHANNEL}"
history_messages = 100
"""


def _work(members: int) -> Work:
    return Work(
        group="history",
        name=f"Fan-out delivery, 128 B, {members:,} subscribers of a channel with history",
        systems={
            PLAIN: partial(holdfast, members),
            "Holdfast": partial(holdfast, members, rules=RULES),
            "Holdfast, SQLite": partial(
                holdfast, members, rules=RULES, settings=("history.kind=sqlite", "store.path={folder}/store")
            ),
        },
        metrics=(CPU, PER_SECOND, P50, P99),
        goals=(Goal("cpu_us", 1.15, PLAIN),),
        measure=partial(fan_out, members),
    )


WORKS = tuple(_work(min(size, limit().connections)) for size in SIZES)
