"""What is seen of each request where somebody wants metrics or traces: by which function, how long, what came of it.

Owns the one place that is around the handling of a request. Without a meter and a tracer there is no Watch, and the way
of a request is the same as if this module were not there.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from holdfast.node import effects
from holdfast.node.elsewhere import current_time
from holdfast.node.exchange import Exchange
from holdfast.node.request import Reply, Request
from holdfast.node.typed import Handler
from holdfast.protocols.nodes import frames

OK, REFUSED, FAILED, CANCELLED = "ok", "refused", "failed", "cancelled"


class Meter(Protocol):
    """holdfast.node.measuring."""

    def began(self, waited: float) -> None: ...

    def ended(self, route: str, function: str, outcome: str, seconds: float) -> None: ...


class Tracer(Protocol):
    """holdfast.node.tracing."""

    def begin(self, seen: "Seen") -> None:
        """Make its span. Whatever is logged or traced from now on in the calling context is of this request."""
        ...

    def end(self, seen: "Seen") -> None: ...


class Seen:
    """One request. route: the path or field by which its function was found; "": it takes all others, or none was.
    function: its name. status: as of HTTP, 200 of what has none. error: what the handler raised. span, span_name: the
    tracer's."""

    __slots__ = ("error", "exchange", "function", "outcome", "route", "span", "span_name", "status")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.route = self.function = ""
        self.status = 200
        self.outcome = OK
        self.error: BaseException | None = None
        self.span: Any = None
        self.span_name = ""


class Watch:
    """meter, tracer: None: nobody wants it."""

    def __init__(self, meter: Meter | None, tracer: Tracer | None) -> None:
        self._meter = meter
        self._tracer = tracer

    async def around(self, handle: Callable[[Exchange], Coroutine[Any, Any, None]], exchange: Exchange) -> None:
        """Handle it."""
        exchange.seen = seen = Seen(exchange)
        if isinstance(exchange.request, frames.Call):
            seen.function = exchange.request.kind
        begun = current_time()
        if self._meter is not None:
            self._meter.began(max(0.0, begun - exchange.came))
        if self._tracer is not None:
            self._tracer.begin(seen)
        has_ended = False
        try:
            await handle(exchange)
            has_ended = True
        finally:
            if not has_ended or exchange.is_cancelled:
                seen.outcome = CANCELLED
            elif seen.status >= 500:
                seen.outcome = FAILED
            elif seen.status >= 400:
                seen.outcome = REFUSED
            if self._meter is not None:
                self._meter.ended(seen.route, seen.function, seen.outcome, current_time() - begun)
            if self._tracer is not None:
                self._tracer.end(seen)

    def around_handler(self, begin: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """What it replies is seen."""

        async def watched(request: Request) -> object:
            result = begin(request)
            if isinstance(result, Awaitable):
                result = await result
            if isinstance(result, Reply) and (seen := _current()) is not None:
                seen.status = 500 if result.failed and result.status < 400 else result.status
            return result

        return watched

    def failed(self, exchange: Exchange, error: BaseException, status: int) -> None:
        """Its handler has raised; what the client gets."""
        seen: Seen = exchange.seen
        seen.status = status
        seen.error = error


def routed(handler: Handler) -> None:
    """This one takes the request that is being handled."""
    seen = _current()
    if seen is not None:
        seen.route, seen.function = handler.route, handler.function.name


def _current() -> Seen | None:
    outlet = effects.current.get()
    return outlet.seen if isinstance(outlet, Exchange) else None
