import structlog
import trio

from holdfast.node.callbacks import Callbacks
from holdfast.node.failures import Failures
from holdfast.node.function import Function


def called(*functions):
    return [Function(function) for function in functions]


def inline(*functions):
    return [Function(function, inline=True) for function in functions]


async def test_inline_functions_are_called_at_once_and_others_in_order():
    callbacks = Callbacks(Failures())
    told = []
    go = trio.Event()

    async def slow(what):
        if what == 1:
            await go.wait()
        told.append(("slow", what))

    def quick(what):
        told.append(("quick", what))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(callbacks.run)
        callbacks.call(called(slow) + inline(quick), 1)
        callbacks.call(called(slow) + inline(quick), 2)
        callbacks.after(lambda: told.append("after"))
        assert told == [("quick", 1), ("quick", 2)]
        assert len(callbacks) == 3
        await trio.testing.wait_all_tasks_blocked()
        assert len(callbacks) == 3
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert told[2:] == [("slow", 1), ("slow", 2), "after"]
        assert len(callbacks) == 0
        callbacks.call(called(slow), 3)
        await trio.testing.wait_all_tasks_blocked()
        assert told[-1] == ("slow", 3)
        nursery.cancel_scope.cancel()


async def test_what_a_plain_function_returns_is_awaited_in_order():
    """Lambdas, wrappers of decorators and objects with an async __call__ do not look like async functions."""
    callbacks = Callbacks(Failures())
    told = []

    async def tell(what):
        await trio.lowlevel.checkpoint()
        told.append(what)

    async def fail():
        raise ValueError("later")

    class Teller:
        async def __call__(self):
            told.append("object")

    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(callbacks.run)
            callbacks.call(inline(lambda: tell("lambda"), lambda: fail(), Teller()))
            callbacks.call(called(tell), "function")
            callbacks.after(lambda: told.append("after"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert told == ["lambda", "object", "function", "after"]
    assert ["<lambda>" in entry["function"] for entry in logs] == [True]


def test_after_is_at_once_if_none_waits():
    told = []
    Callbacks(Failures()).after(lambda: told.append("after"))
    assert told == ["after"]


async def test_what_raises_is_logged_and_the_others_are_called():
    callbacks = Callbacks(Failures())
    told = []

    def fail_now():
        raise ValueError("now")

    async def fail_later():
        raise ValueError("later")

    async def work():
        told.append("async")

    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(callbacks.run)
            callbacks.call(inline(fail_now) + called(fail_later, fail_now, lambda: told.append("plain"), work))
            with trio.fail_after(10):
                while len(callbacks):  # noqa: ASYNC110 - a thread sets no event
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    assert told == ["plain", "async"]
    failed = [line["function"].partition(" (")[0].rpartition(".")[2] for line in logs]
    assert failed == ["fail_now", "fail_later", "fail_now"]


async def test_what_needs_the_state_waits_for_it():
    callbacks, told = Callbacks(Failures()), []

    async def later(name):
        told.append(name)

    callbacks.call_with_state(inline(told.append) + called(later), "client")
    callbacks.call(inline(told.append), "state")
    assert (told, len(callbacks)) == (["state"], 2)
    callbacks.release()
    assert (told, len(callbacks)) == (["state", "client"], 1)
    callbacks.call_with_state(inline(told.append), "another")
    assert told[-1] == "another"
