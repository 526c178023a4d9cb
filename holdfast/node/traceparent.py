"""The W3C Trace Context that came with a request: https://www.w3.org/TR/trace-context/#traceparent-header."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
HEX = "[0-9a-f]"
# A later version may go on after a dash; ff is none.
FORM = re.compile(f"(?!ff)({HEX}{{2}})-(?!0{{32}})({HEX}{{32}})-(?!0{{16}})({HEX}{{16}})-{HEX}{{2}}(-.*)?")


def ids_of(traceparent: str | None) -> tuple[str, str] | None:
    """Of the trace and of the span that asks, in hexadecimal digits. None: there is none, or what came is none."""
    match = FORM.fullmatch(traceparent or "")
    if match is None or (match[1] == "00" and match[4] is not None):
        return None
    return match[2], match[3]


def log_context(traceparent: str | None, span: "Span | None") -> dict[str, object]:
    """trace_id and span_id for a log line: of the request's own span, if it has one."""
    if span is not None:
        context = span.get_span_context()
        if context.is_valid:
            return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    ids = ids_of(traceparent)
    return {} if ids is None else {"trace_id": ids[0], "span_id": ids[1]}
