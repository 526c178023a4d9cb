"""The process of the built-in clients, so that showing and supervising a run does not slow them down, nor they it.

Speaks JSON lines. In: Start, then Finish. Out: Connected, Progress every so often, Finished; or Failed. When its input
ends, so does it, and until then its clients stay connected.
"""

import sys
from functools import partial

import msgspec
import trio
from msgspec import Struct

from holdfast.chaos.accounting import Verdict
from holdfast.chaos.failover import Fault
from holdfast.chaos.lines import Lines
from holdfast.chaos.load import Load, Progress, Settings
from holdfast.chaos.sessions import Session
from holdfast.chaos.writes import Book
from holdfast.node.errors import one_of_ours

PROGRESS_INTERVAL = 0.25


class Start(Struct, tag="start"):
    """Send requests from now on."""


class Finish(Struct, tag="finish"):
    """Send no more, wait `patience` seconds at most for what is due, and say what came of it. faults: what happened."""

    patience: float
    faults: list[Fault]


class Connected(Struct, tag="connected"):
    """Every client is, and has joined its channel."""


class Finished(Struct, tag="finished"):
    """sessions: all connections of the clients. book: of their writes. worst_lag: how late a request left, in ms, at
    most: much of it, and the clients were short of CPU themselves.
    """

    verdict: Verdict
    sessions: list[Session]
    book: Book
    worst_lag: float


class Failed(Struct, tag="failed"):
    message: str


Said = Connected | Progress | Finished | Failed
_commands: msgspec.json.Decoder[Start | Finish] = msgspec.json.Decoder(Start | Finish)


def main(settings: str) -> int:
    trio.run(partial(_work, msgspec.json.decode(settings, type=Settings)))
    return 0


async def _work(settings: Settings) -> None:
    load = Load(settings)
    try:
        async with trio.open_nursery() as nursery:
            await load.open(nursery)
            nursery.start_soon(load.run)
            await load.join()
            _say(Connected())
            telling = trio.CancelScope()
            nursery.start_soon(_tell_progress, load, telling)
            await _obey(load, telling)
            nursery.cancel_scope.cancel(reason="finished")
    except ExceptionGroup as group:
        error = one_of_ours(group)
        if error is None:
            raise
        _say(Failed(str(error)))
    finally:
        load.close()


async def _obey(load: Load, telling: trio.CancelScope) -> None:
    lines = Lines(sys.stdin.fileno())
    while (line := await lines.next()) is not None:
        command = _commands.decode(line)
        if isinstance(command, Start):
            load.start()
        else:
            load.stop(command.faults)
            await load.wait_complete(command.patience)
            telling.cancel(reason="nobody listens any more")
            _say(load.progress())
            verdict = load.verdict(command.faults)
            _say(Finished(verdict, load.sessions.all, load.writer.writes.book, round(load.worst_lag * 1000, 1)))


async def _tell_progress(load: Load, telling: trio.CancelScope) -> None:
    with telling:
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            _say(load.progress())


def _say(what: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()
