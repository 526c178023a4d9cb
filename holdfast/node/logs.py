"""What the log of a node's process looks like, where the library sets it up: `holdfast node` and `holdfast.run`.

Owns the set-up of structlog and of the standard library's logging, and which request a line is of. That is asked when a
line is made, of what says where effects go to (`effects.current`), so requests whose handlers say nothing pay nothing.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import structlog

from holdfast.node import effects

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}  # as in the standard library
FORMATS = ("auto", "text", "json")

_origin: dict[str, object] = {}  # of every line of this process, when it is known


def log_context() -> dict[str, object]:
    """For a log line: of a handler request (its id), client (the id, in 16 hex digits as proxies tell it) and attempt,
    and trace_id and span_id if its request came with a `traceparent`; of a master's function its epoch; nothing
    elsewhere.

    In tasks and threads that a handler has started, too; not in those of `node.start_soon`. `holdfast node` and
    `holdfast.run` add it to every line; who sets up logging otherwise may, in a processor of structlog or a filter.
    """
    outlet = effects.current.get()
    return {} if outlet is None else outlet.log_context()


def log_to_stderr(level: str = "info", format: str = "auto") -> None:
    """Set up structlog: before the author's module is loaded, so that one which sets up structlog itself may.

    format: text is lines for people, json a JSON object a line; auto is text on a terminal and json elsewhere.
    """
    structlog.configure(
        processors=[*_before(), *_after(format)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def take_standard_logging(level: str = "info", format: str = "auto") -> None:
    """Have what is logged by the standard library look alike, unless somebody has set that up: after the author's
    module is loaded."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    foreign: list[structlog.typing.Processor] = [
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_logger_name,
        *_before(),
    ]
    without_record = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[without_record, *_after(format)], foreign_pre_chain=foreign)
    )
    root.addHandler(handler)
    root.setLevel(LEVELS[level])


def of_node(node: str) -> None:
    """From now on each line names it."""
    _origin["node"] = node


def _before() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _with_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _after(format: str) -> Sequence[structlog.typing.Processor]:
    is_terminal = sys.stderr.isatty()
    if format == "text" or (format == "auto" and is_terminal):
        colors = is_terminal and not os.environ.get("NO_COLOR")
        # not structlog's own choice of a traceback: it shows local variables, and they hold payloads
        text = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        return [_head_first, text]
    return [_head_first, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _with_context(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**_origin, **log_context(), **event}


def _head_first(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:  # noqa: ANN401
    """What every line has comes first, so that raw lines can be read."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return {**head, **event}
