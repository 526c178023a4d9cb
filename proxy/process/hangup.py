"""SIGHUP: a terminal has gone, or somebody wants a server to read its configuration again.

Servers say that they do not, and go on: to end is SIGTERM's meaning. What people run to see its outcome ends with it,
as by SIGTERM. Who was started by nohup ignores it. One that comes before it is known which of these a process is waits.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def survive() -> None:
    """From now on this process goes on, with a line in its log. Who ignores the signal goes on doing so."""
    if not _is_ignored():
        import structlog  # slow to import, and not for those who end by it

        log = structlog.get_logger("holdfast.signals")

        def tell(number: int, frame: FrameType | None) -> None:
            log.warning("sighup_not_used", why="the configuration is read at the start only; SIGTERM ends the process")

        signal.signal(signal.SIGHUP, tell)
    heed()


def heed() -> None:
    """One that has waited comes now; from now on none waits."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def held() -> Iterator[None]:
    """Who is started within it has it wait, from its first moment."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def endings() -> tuple[signal.Signals, ...]:
    """The signals that end a program which is run for its outcome."""
    return (signal.SIGINT, signal.SIGTERM) if _is_ignored() else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _is_ignored() -> bool:
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
