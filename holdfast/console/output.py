"""What commands print for people: lines, JSON and tables. Text of clients is shown, but steers no terminal."""

import errno
import os
import select
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200  # of a table that is not on a terminal: rich would otherwise fold it into 80 columns


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def complain(line: str) -> None:
    """An error, as every command says it."""
    sys.stderr.write(f"holdfast: {printable(line)}\n")


def say_json(value: object) -> None:
    say(_as_json(value))


def _as_json(value: object) -> str:
    import msgspec  # not every command has it

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def say_done(line: str, value: object, *, json: bool) -> None:
    """What a command has done, as a line or as JSON. It is done whether or not that can be written: who called would
    else have it done once more."""
    announce([_as_json(value) if json else line])


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    from rich.table import Table  # slow to import, and most commands print no table
    from rich.text import Text

    lines = [[Text(printable(cell)) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        # Ids are first, and never cut, however narrow the terminal: other commands need them whole.
        table.add_column(
            column, min_width=max((line[place].cell_len for line in lines), default=0) if not place else None
        )
    for line in lines:
        table.add_row(*line)
    console = console_on(sys.stdout)
    if sys.stdout.isatty():
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    for row in capture.get().splitlines():
        say(row.rstrip())  # rich fills up the last column


def console_on(stream: TextIO) -> "Console":
    """Raises OSError when it can't be written to."""
    from rich.console import Console

    class Writing(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would end the process, from within whatever runs

    return Writing(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def failure_of_writing(error: BaseException) -> OSError | None:
    """If all that a command has ended with is that its output can't be written: that."""
    if isinstance(error, BaseExceptionGroup):
        failures = [failure_of_writing(inner) for inner in error.exceptions]
        return failures[0] if None not in failures else None
    return error if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO) else None


def printable(value: object) -> str:
    """Control characters as escapes: a client chose its path, and it must not clear the operator's screen."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(value))


def flush() -> None:
    """Lines reach a pipe at once."""
    sys.stdout.flush()


def announce(lines: Iterable[str]) -> None:
    """Say these, as far as there is room and somebody to read them. A server waits for nobody, and ends for nobody."""
    data = "".join(line + "\n" for line in lines).encode(errors="replace")
    with suppress(OSError):
        sys.stdout.flush()
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        for start in range(0, len(data), select.PIPE_BUF):  # so much never blocks where there is room at all
            if not poll.poll(0):
                return
            os.write(sys.stdout.fileno(), data[start : start + select.PIPE_BUF])
