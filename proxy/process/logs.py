"""Structured logs: an event name and fields, as JSON lines on stderr or, on a terminal, as coloured text.

Event names are constants in snake_case; what varies is in the fields. Payloads and secrets are never logged, so
tracebacks come without local variables. A log that cannot be written is lost: it never takes the server down, nor holds
it up (proxy.process.stderr).
"""

import os
import sys
from collections.abc import Mapping
from functools import partial

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from holdfast.proxy.config.sections import LogSettings

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}  # as in the standard library


def configure(settings: LogSettings, worker: int | None = None) -> None:
    """Set up every logger of the process. To be called before the first line: loggers keep what they began with.

    worker: a field of every line, where several processes write to the same place.
    """
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            partial(_head_first, {} if worker is None else {"worker": worker}),
            *(_text_renderers() if as_text else _json_renderers()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )


def _json_renderers() -> list[Processor]:
    # ASCII only: what a client put into a field can end no line and fails no encoding
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _text_renderers() -> list[Processor]:
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    # structlog's own choice of a traceback shows local variables, and they hold payloads
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return [_escape, renderer]


class _Stderr:
    """Writes lines to what sys.stderr is at that moment."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # its reader is gone, the disk is full, it is closed: go on without
            pass

    debug = info = warning = error = critical = exception = msg


def _head_first(origin: Mapping[str, object], logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What every line has comes first, so that raw lines can be read."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return {**head, **origin, "logger": logger.name, **event}


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What a client put into a field must not steer the operator's terminal."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return event
