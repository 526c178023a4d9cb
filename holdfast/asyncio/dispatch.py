"""Requests at this node whose handlers run in asyncio: holdfast.node.dispatch, with that part on the other side.

A reply that need not wait for anything leaves from there. One with effects may have to, so it is made in Trio when the
handler has returned: the request is a job once more, of the workers there.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable
from functools import partial
from math import inf
from typing import Any

import trio

from holdfast.asyncio import hosts
from holdfast.asyncio.workers import Workers
from holdfast.node import effects
from holdfast.node.dispatch import Dispatch, Handler, no_handler
from holdfast.node.elsewhere import in_trio
from holdfast.node.exchange import Exchange
from holdfast.node.ordered import queue
from holdfast.node.request import Reply, Request
from holdfast.node.watching import Watch


class AsyncioDispatch(Dispatch):
    def _assemble(self, is_ordered: bool) -> None:
        super()._assemble(is_ordered=False)
        self._author, self._handler = self._handler, self._result_of
        self._results: dict[Exchange, Any] = {}  # what handlers have returned that is yet to be sent
        self._clocks = 0.0  # asyncio's less Trio's
        self._waits_for_reply = is_ordered  # handlers' workers do, and not only who waits for effects
        self._handlers: Workers[Exchange]
        self.workers, self._handlers = queue(Workers, self._handle, is_ordered)

    def watch(self, watch: Watch, handler: Handler | None) -> None:
        super().watch(watch, None)
        self._handler, self._author = self._result_of, watch.around_handler(no_handler if handler is None else handler)
        self._handlers.handle = partial(watch.around, self._handlers.handle)
        self._waits_for_reply = True

    async def run(self) -> None:
        crossing = hosts.crossing()
        self._clocks = crossing.loop.time() - trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._handlers.run, crossing)
            nursery.start_soon(self._workers.run)

    async def _handle(self, exchange: Exchange) -> None:
        """In asyncio: the guard of handlers there."""
        request = exchange.request
        assert isinstance(request, Request)  # calls are Trio's
        exchange.request = None
        request.deadline += self._clocks
        effects.current.set(exchange)
        is_to_reply = has_returned = False
        try:
            result = self._author(request)
            if isinstance(result, Awaitable):
                result = await result
            has_returned = True
            if isinstance(result, Reply) and isinstance(result.body, AsyncIterable):
                await exchange.reply(result)  # what makes the parts is asyncio's, too
                self.handled += 1
            elif exchange.reply_nowait(result):
                self.handled += 1
            elif self._waits_for_reply:
                await in_trio(exchange.reply, result)
                self.handled += 1
            else:
                is_to_reply = not exchange.is_cancelled  # it may have refused to be
        except asyncio.CancelledError as error:
            if exchange.is_cancelled or self._handlers.is_over:
                raise
            self._fail(exchange, request, has_returned, error)  # its own doing: somebody waits for the reply
        except BaseException as error:
            self._fail(exchange, request, has_returned, error)
        finally:
            if not is_to_reply:
                self._ended(exchange)
        if is_to_reply:
            exchange.worker, exchange.request = None, request
            self._results[exchange] = result
            self._workers.put(exchange)
            self._workers.wake(inf)

    def _result_of(self, request: Request) -> Any:  # noqa: ANN401
        """In Trio, for the guard there: what the handler has returned."""
        exchange = request._exchange
        assert isinstance(exchange, Exchange)
        return self._results.pop(exchange)

    def _ended(self, exchange: Exchange) -> None:
        self._results.pop(exchange, None)
        super()._ended(exchange)
