"""What the trials have measured: a row each, printed at the end as a table in Markdown.

All figures go to the JSON file that HOLDFAST_NET_TABLE names, in place of those of the same network by an earlier run:
the trials need not all be of one run. `python -m tests.net.rows FILE` prints such a file's table.
"""

import os
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.net.books import Seen

VARIABLE = "HOLDFAST_NET_TABLE"
HEAD = ("network", "fenced", "evicted", "closed", "no master", "healed", "clients saw")


class Row(Struct):
    """Seconds; None: it did not happen. fenced, evicted, closed: since the fault began; healed: since it ended.

    closed: the last client of a proxy that was cut off is sent away. no_master: the longest time without one that acts.
    note: what else was measured.
    """

    network: str
    seen: Seen
    no_master: float
    healed: float | None = None
    fenced: float | None = None
    evicted: float | None = None
    closed: float | None = None
    note: str = ""

    def cells(self) -> list[str]:
        times = (self.fenced, self.evicted, self.closed, self.no_master, self.healed)
        return [self.network, *(f"{t:.1f} s" if t is not None else "-" for t in times), self.note + words(self.seen)]


def words(seen: Seen) -> str:
    parts = [f"{seen.answered:,} of {seen.sent:,} requests answered"]
    parts += [f"{count} {kind}" for kind, count in sorted(seen.errors.items())]
    if seen.gone:
        parts.append(f"{seen.gone} ended with their connection")
    if seen.redelivered:
        parts.append(f"{seen.redelivered} redelivered")
    parts.append(f"p50 {seen.latency.p50:.0f} ms, slowest {seen.latency.max / 1000:.1f} s")
    closed = sum(seen.closed.values())
    parts.append(", ".join(f"{count} {why}" for why, count in sorted(seen.closed.items())) if closed else "none closed")
    parts.append(
        f"{seen.due:,} notifications due: {seen.missing} missing, {seen.duplicated} twice, "
        f"{seen.out_of_order} out of order, {seen.late:,} later than 1 s (latest {seen.latest:.1f} s)"
    )
    state = seen.state
    parts.append(
        f"{state.acknowledged:,} of {state.sent:,} writes to the state done, {state.pause:.1f} s without one at most"
    )
    return "; ".join(parts)


def table(rows: list[Row]) -> str:
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(path: Path) -> list[Row]:
    return msgspec.json.decode(path.read_bytes(), type=list[Row])


def write(rows: list[Row]) -> None:
    name = os.environ.get(VARIABLE)
    if name:
        path = Path(name)
        known = {row.network: row for row in [*(read(path) if path.exists() else []), *rows]}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(list(known.values()))) + b"\n")


if __name__ == "__main__":
    print(table(read(Path(sys.argv[1]))))
