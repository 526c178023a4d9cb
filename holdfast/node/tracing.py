"""Spans of requests, by OpenTelemetry.

Owns all that knows of OpenTelemetry. Its API is imported only in a process where somebody has imported it already, or
has named a provider in the environment: without a provider nobody would see a span, and none is made.
"""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from holdfast.node.raised import full_type_of, text_of, traceback_of, type_of
from holdfast.node.request import Request
from holdfast.node.routing import METHODS
from holdfast.protocols.nodes import frames

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.trace import Tracer as Api

    from holdfast.node.watching import Seen

NAME = "holdfast"
PROVIDER = "OTEL_PYTHON_TRACER_PROVIDER"  # of OpenTelemetry: which one is loaded when it is first asked for
CONTEXT = ("traceparent", "tracestate", "baggage", "b3", "uber-trace-id")  # what propagators read


def tracer() -> "Tracer | None":
    """What makes spans in this process. None: OpenTelemetry is not installed, or no provider of tracers is set."""
    if "opentelemetry.trace" not in sys.modules and PROVIDER not in os.environ:
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return Tracer(provider.get_tracer(NAME))


class Tracer:
    """A span for each request: kind server, parent what came with the request (of a WebSocket: with its handshake).

    Named GET /rooms/{id}, or websocket and what found its function. Attributes are those of OpenTelemetry's semantic
    conventions, and holdfast.request, holdfast.attempt, holdfast.outcome. Status ERROR: of 500 on. Bodies, queries and
    headers are in none of it.
    """

    def __init__(self, api: "Api") -> None:
        self._api = api

    def begin(self, seen: "Seen") -> None:
        """The calling context has the span as the current one from now on; that context is the request's alone."""
        from opentelemetry import context, propagate, trace

        exchange = seen.exchange
        request, client = exchange.request, exchange.client
        attributes: dict[str, str | int] = {
            "client.address": client.address,
            "network.protocol.name": client.protocol,
            "url.path": client.path,
            "holdfast.request": str(exchange.id),  # as in logs; 64 bits are too many for an attribute
            "holdfast.attempt": exchange.attempt,
        }
        name = client.protocol
        if isinstance(request, frames.Call):
            name = request.kind
        elif isinstance(request, Request) and request.http is not None:
            is_known = request.http.method in METHODS  # a name is one of few
            name = request.http.method if is_known else "HTTP"
            attributes["http.request.method"] = request.http.method if is_known else "_OTHER"
        parent = propagate.extract(_carrier(client.headers))
        span = self._api.start_span(name, parent, trace.SpanKind.SERVER, attributes)
        context.attach(trace.set_span_in_context(span, parent))  # not detached: the context ends with the request
        seen.span, seen.span_name = span, name

    def end(self, seen: "Seen") -> None:
        from opentelemetry.trace import Status, StatusCode

        span: Span = seen.span
        is_http = seen.exchange.is_http
        if seen.route:
            span.set_attribute("http.route" if is_http else "holdfast.route", seen.route)
            span.update_name(f"{seen.span_name} {seen.route}")
        if seen.function:
            span.set_attribute("code.function.name", seen.function)
        span.set_attribute("holdfast.outcome", seen.outcome)
        if is_http and seen.outcome != "cancelled":
            span.set_attribute("http.response.status_code", seen.status)
        if seen.status >= 500:
            error = seen.error
            span.set_attribute("error.type", str(seen.status) if error is None else type_of(error))
            if error is not None:  # not record_exception: that asks it
                said = {"type": full_type_of(error), "message": text_of(error), "stacktrace": traceback_of(error)}
                said["escaped"] = "False"
                span.add_event("exception", {f"exception.{name}": text for name, text in said.items()})
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _carrier(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    carrier: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name in CONTEXT or name.startswith("x-b3-"):
            carrier[name] = f"{carrier[name]},{value}" if name in carrier else value
    return carrier
