"""What a node does beside requests, as authors register it: lifespans, tasks and jobs.

Owns the checks of what is registered. lifespans and tasks have what becomes of it in a run.
"""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import isfinite
from typing import Any, Literal, TypeVar, cast

from holdfast.node.function import check_no_generator, flags_of, kind_of, name_of, said, unwrapped
from holdfast.node.functions import Functions
from holdfast.node.lifespans import Lifespan
from holdfast.node.tasks import Job, Tasks
from holdfast.node.typed import check, fault_of
from holdfast.protocols.errors import ConfigError

LifespanFunction = TypeVar(
    "LifespanFunction", bound=Callable[..., AsyncGenerator[Any, None] | AbstractAsyncContextManager[Any]]
)
JobFunction = TypeVar("JobFunction", bound=Callable[[], Any])


NO_LIFESPAN = "must be `async def` with one `yield`, around which a run of the node is, or an async context manager's"


class Background(Functions):
    """Base class of Node."""

    _tasks: Tasks

    def __init__(self) -> None:
        super().__init__()
        self._lifespans: list[Lifespan] = []
        self._jobs: list[Job] = []

    def lifespan(self, function: LifespanFunction) -> LifespanFunction:
        """Register what is around each run of the node: an async generator function with one `yield`, as those of
        contextlib.asynccontextmanager, of no argument or of the node. One that is such a context manager's is fine too.

        What stands before the `yield` is done before the node is linked with any proxy, and so before any function of
        yours is called: what needs a proxy (effects, `count`, `state.set`) raises HoldfastError there, and the state is
        empty. If it raises, `run` raises LifespanError, with that as its cause, and `holdfast node` ends with one line
        and status 1. A node that is to drain meanwhile cancels it, and `run` returns.
        What stands after the `yield` is done when the node has drained and left, its tasks have ended and handlers no
        longer run, also if the run has failed. It has what is left of `drain_timeout`, at least a second, and is
        cancelled then. What it raises is logged. If the run is cancelled, so is what stands around it: at the `yield`
        trio.Cancelled is raised, alone or in a group, and what is to be done all the same stands in a `finally`.
        There may be several: they are entered in the order in which they are registered, and left in reverse. A cancel
        scope or nursery that is open around the `yield` and is cancelled ends the run: LifespanError.
        What is seen to be none is refused: ConfigError. A function that returns no such manager ends the run as one
        that raises.
        """
        if not callable(function):
            raise ConfigError(f"expected an async generator function, got {function!r:.80}")
        is_another = flags_of(unwrapped(function)) & (inspect.CO_COROUTINE | inspect.CO_GENERATOR)
        if is_another or (issubclass(type(function), type) and not hasattr(function, "__aenter__")):
            raise ConfigError(f"{said(function)} {NO_LIFESPAN}")
        if fault_of(function) and fault_of(function, self):
            raise ConfigError(f"{said(function)} must take no argument or the node: it could not be called")
        takes_node = bool(fault_of(function))
        begin: Callable[..., Any] = function
        if flags_of(function) & inspect.CO_ASYNC_GENERATOR:
            begin = asynccontextmanager(lambda *arguments: cast("AsyncGenerator[Any, None]", function(*arguments)))

        def enter(node: object) -> AbstractAsyncContextManager[Any]:
            manager = begin(node) if takes_node else begin()
            if not hasattr(manager, "__aenter__"):
                raise TypeError(f"{said(function)} returns {kind_of(manager)}, and {NO_LIFESPAN}")
            return self._adapt_manager(cast("AbstractAsyncContextManager[Any]", manager))

        self._lifespans.append(Lifespan(name_of(function), enter))
        return function

    def start_soon(self, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - the author's
        """Start a task of the node's own: `function(*arguments)`, an async function, or a plain one, in a thread.

        It outlives the handler or callback that starts it. What it raises is logged, and ends nothing else. What it
        does through the node goes out at once: not with a reply, nor as the master's. It is cancelled when the node
        has drained, before lifespans are left, and with the run. Of plain ones `Node(threads=...)` run at once, beside
        those that handle requests; when one is cancelled its thread goes on, but counts for nothing.
        From within a run only: from a lifespan (its tasks begin at once, and what they do through the node waits until
        a proxy is linked), and from whatever the node calls, in its threads too. Elsewhere it raises HoldfastError; in
        a thread whose handler was cancelled, StaleError. Raises RequestError (503) while 10,000 have not ended, so that
        a handler need not care; ConfigError for a function with a `yield`, of which nothing would run.
        """
        if not callable(function):
            raise TypeError(f"expected a function, got {function!r:.80}")
        check_no_generator(function)
        if fault := fault_of(function, *arguments):
            raise TypeError(f"{said(function)} could not be called with {len(arguments)} arguments, {fault}")
        self._tasks.start_soon(self._adapt(function), arguments)

    def every(
        self,
        interval: float,
        *,
        on: Literal["master"] | None = None,
        at_once: bool = False,
        inline: bool = False,
    ) -> Callable[[JobFunction], JobFunction]:
        """Register a job: a function without arguments, async or plain, that is called every `interval` seconds.

        The first time is one interval after the node is ready at its first proxy, or with `at_once` when it is. It
        never overlaps with itself, and keeps to the beat of its first turn: what lasts longer than an interval costs
        the turns that were due meanwhile. What it raises is logged, and its next turn comes as it would have. When the
        node drains no turn begins any more, and one that is under way may end within `drain_timeout`.
        A plain function runs in a thread, with `inline=True` in the node's own, which it holds up.

        on="master": only while this node acts as master, so at one node of the whole cluster, as `on_master`: what it
        does through the node counts only in that node's epoch, and a turn is cancelled when the node no longer is
        master, or drains. The interval counts from when it has become master: after a change of masters the next turn
        comes up to an interval later than it would have, or with `at_once` up to an interval sooner.
        Raises ConfigError for what is no interval, no place, or no such function.
        """
        number: object = interval
        if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0 or not isfinite(number):
            raise ConfigError(f"a job's interval is a number of seconds above 0, got {interval!r:.80}")
        if on not in (None, "master"):
            raise ConfigError(f'a job runs on="master", or without that on every node, got on={on!r:.80}')

        def register(function: JobFunction) -> JobFunction:
            check(function)
            self._jobs.append(Job(self._adapt(function), interval, on == "master", at_once, inline))
            return function

        return register
