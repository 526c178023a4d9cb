"""Requests at this node: from the frame to the handler and back.

Owns which requests are being handled, for which session; their cancellation; and the guard that turns whatever a
handler raises into a failure with an id that the log has too. Refuses more than twice the capacity per proxy: a proxy's
credit is the limit, but a cancelled handler may take its time to end, and the proxy has its credit back already.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from secrets import token_hex
from typing import Any

import structlog
import trio

from holdfast.node import effects
from holdfast.node.calls import Calls, client_of
from holdfast.node.clients import Clients
from holdfast.node.elsewhere import current_time
from holdfast.node.errors import RequestError, told
from holdfast.node.exchange import Exchange, Mark, RequestSession
from holdfast.node.failures import Failures
from holdfast.node.function import Function, Whose
from holdfast.node.ordered import queue
from holdfast.node.raised import add_note, as_kind, guarded, innermost, traceback_of
from holdfast.node.request import Client, HttpInfo, Request
from holdfast.node.watching import Watch
from holdfast.node.workers import Jobs, Workers
from holdfast.protocols.nodes import frames

log = structlog.get_logger("holdfast.node")

PRECISION = 0.001  # of deadlines, which come in milliseconds; timers of asyncio are early by its clock's resolution

Handler = Callable[[Request], Any]  # of what Exchange.reply takes, or an awaitable of it


class Dispatch:
    """handler: the author's, as it is to be called; None: every request fails. in_flight: taken and not ended.
    is_ordered: messages of one client are handled one after the other. whose: the function that handles a request, for
    who looks for what has failed.
    """

    def __init__(
        self,
        handler: Handler | None,
        calls: Calls,
        clients: Clients,
        capacity: int,
        failures: Failures,
        is_ordered: bool = False,
        whose: Callable[[Request], Whose] = lambda request: Whose(),
    ) -> None:
        self._whose = whose
        self._handler = no_handler if handler is None else handler
        self._calls = calls
        self._failures = failures
        self._clients = clients
        self._capacity = capacity
        self._idle = trio.Event()
        self._watch: Watch | None = None
        self.workers: Jobs[Exchange]
        self._workers: Workers[Exchange]
        self._assemble(is_ordered)
        self.in_flight = 0
        self.handled = 0
        self.failed = 0
        self.cancelled = 0

    def _assemble(self, is_ordered: bool) -> None:
        self.workers, self._workers = queue(Workers, self._guarded, is_ordered)

    def watch(self, watch: Watch, handler: Handler | None) -> None:
        """From now on, before anything has come. handler: the same, telling `watch` of routes."""
        self._watch = watch
        self._handler = watch.around_handler(no_handler if handler is None else handler)
        self._workers.handle = partial(watch.around, self._workers.handle)

    async def run(self) -> None:
        await self._workers.run()

    @property
    def load(self) -> float:
        return min(1.0, self.in_flight / self._capacity)

    # --- from the session -------------------------------------------------------------------------------------------

    def message(self, session: RequestSession, frame: frames.Request) -> None:
        exchange = Exchange(session, frame.id, frame.attempt, frame.timeout / 1000, frame.is_text)
        client = self._clients.who_asks(frame)
        if client is None:
            exchange.fail(410, "the client is gone")
            return
        exchange.client = client
        exchange.request = Request(
            frame.payload, frame.is_text, client, None, frame.attempt, exchange.deadline, exchange
        )
        self._take(exchange)

    def http(self, session: RequestSession, frame: frames.HttpRequest) -> None:
        exchange = Exchange(session, frame.id, frame.attempt, frame.timeout / 1000, False, frame.method)
        client = Client.of(frame.client)
        http = HttpInfo(frame.method, frame.target, client.headers)
        exchange.client = client
        exchange.request = Request(frame.payload, False, client, http, frame.attempt, exchange.deadline, exchange)
        self._take(exchange)

    def call(self, session: RequestSession, frame: frames.Call) -> None:
        exchange = Exchange(session, frame.id, frame.attempt, frame.timeout / 1000, frame.is_text)
        exchange.client = client_of(frame)
        exchange.request = frame
        self._take(exchange, self._workers)
        self._workers.wake(session.now)

    def cancel(self, session: RequestSession, frame: frames.Cancel) -> None:
        exchange = session.exchanges.get(frame.request)
        if exchange is not None and exchange.attempt == frame.attempt:
            self._cancel(exchange, "the reply is no longer wanted: client gone, or deadline passed")

    def expired(self, exchange: Exchange) -> None:
        """A handler goes on with a request whose deadline has passed, or whose session is over."""
        self._cancel(exchange, "its deadline has passed, or its session is over")

    def taken(self, session: RequestSession, frame: frames.Taken) -> None:
        exchange = session.exchanges.get(frame.request)
        if exchange is not None and exchange.attempt == frame.attempt:
            exchange.taken(frame.bytes)

    def lost(self, session: RequestSession, reason: str) -> None:
        """The session is over: its requests are other nodes' now, so their handlers are cancelled."""
        for exchange in list(session.exchanges.values()):
            self._cancel(exchange, f"the session with the proxy is over: {reason}")

    # --- leaving ----------------------------------------------------------------------------------------------------

    async def wait_idle(self) -> None:
        """Wait until nothing is in flight."""
        while self.in_flight:
            self._idle = trio.Event()
            await self._idle.wait()

    # ----------------------------------------------------------------------------------------------------------------

    def _take(self, exchange: Exchange, workers: Jobs[Exchange] | None = None) -> None:
        running = exchange.session.exchanges
        former = running.get(exchange.id)
        if former is not None:  # an earlier attempt, which the proxy has given up
            self._cancel(former, "the proxy has sent the request again")
        if self.in_flight >= 2 * self._capacity * len(exchange.session.links.sessions):
            exchange.fail(503, "the node is full")
            return
        running[exchange.id] = exchange
        self.in_flight += 1
        (self.workers if workers is None else workers).put(exchange)

    def _cancel(self, exchange: Exchange, reason: str) -> None:
        if exchange.is_cancelled:
            return
        self.cancelled += 1
        self.workers.cancel(exchange, reason)
        if exchange.worker is None:
            self._ended(exchange)

    def _ended(self, exchange: Exchange) -> None:
        exchange.is_open = False
        running = exchange.session.exchanges
        if running.get(exchange.id) is exchange:
            del running[exchange.id]
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def _guarded(self, exchange: Exchange) -> None:
        """The guard of handlers: the only place where what they raise is caught."""
        request, exchange.request = exchange.request, None
        assert request is not None
        effects.current.set(exchange)
        has_returned = False
        try:
            if isinstance(request, frames.Call):
                call = partial(self._call, exchange)
                result = self._calls.begin(request, exchange.client, exchange.deadline, call)
            else:
                result = self._handler(request)
            if isinstance(result, Awaitable):
                result = await result
            has_returned = True
            await exchange.reply(result)
            self.handled += 1
        except BaseException:
            with guarded(partial(self._fail, exchange, request, has_returned)):
                raise
        finally:
            self._ended(exchange)

    async def _call(self, exchange: Exchange, function: Function, *arguments: object) -> None:
        """One of several functions that are told the same: what it raises costs itself, and what it did through the
        node."""
        mark = exchange.mark()
        with guarded(partial(self._failed_alone, exchange, mark, function)):
            await function(*arguments)

    def _failed_alone(self, exchange: Exchange, mark: Mark, function: Function, error: BaseException) -> None:
        exchange.forget_since(mark)
        if self._watch is not None:
            self._watch.failed(exchange, error, 500)
        self._failures.callback(function, error)

    def _fail(
        self, exchange: Exchange, request: Request | frames.Call, has_returned: bool, error: BaseException
    ) -> None:
        """has_returned: it is of what the function has returned, and so no line of that is in the traceback."""
        self.failed += 1
        if has_returned and as_kind(error, trio.Cancelled) is not None:
            error = _LEFT_OPEN
        wanted = _request_error(error, exchange)
        said = None
        try:
            if wanted is not None:
                said = told(wanted)
        # Its attributes have been set by hand, or its class is the author's. Nothing is awaited here.
        except BaseException as wrong:  # noqa: ASYNC103
            error = wrong
        if self._watch is not None:
            self._watch.failed(exchange, error, 500 if said is None else said[0])
        if wanted is not None and said is not None:
            self._failures.refused(wanted, exchange.id)
            exchange.fail(*said)
            return
        id = token_hex(4)
        whose = self._calls.whose(request) if isinstance(request, frames.Call) else self._whose(request)
        if has_returned and error is not _LEFT_OPEN:
            add_note(error, f"returned by {whose}")
        if self._failures.admits("handler_failed", error, exchange.id):
            text = traceback_of(error)
            log.error(
                "handler_failed",
                id=id,
                request=exchange.id,
                attempt=exchange.attempt,
                function=whose.function or whose.around,
                route=whose.route,
                exception=text,
            )
        exchange.fail(500, f"internal error ({id})")


_LEFT_OPEN = RuntimeError(
    "a cancel scope of the reply's parts has cancelled the reply: they yield within it, or a nursery"
)


def _request_error(error: BaseException, exchange: Exchange) -> RequestError | None:
    """The RequestError that was raised, also by a task in a nursery of the handler; or what stands for one: a handler
    that keeps to its deadline by itself (`trio.fail_at(request.deadline)`) is nobody's fault, and the proxy may be a
    moment later than it."""
    error = innermost(error)
    is_late = as_kind(error, TimeoutError) or as_kind(error, trio.TooSlowError)
    if is_late is not None and current_time() >= exchange.deadline - PRECISION:
        return RequestError(504, "no reply within the time of the request")
    return as_kind(error, RequestError)


def no_handler(request: Request) -> Any:  # noqa: ANN401
    raise RequestError(501, "this node handles no requests")
