import structlog
import trio

from holdfast.callbacks import Callbacks


async def test_plain_functions_are_called_at_once_and_async_ones_in_order():
    callbacks = Callbacks()
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
        callbacks.call([slow, quick], 1)
        callbacks.call([slow, quick], 2)
        callbacks.after(lambda: told.append("after"))
        assert told == [("quick", 1), ("quick", 2)]
        assert len(callbacks) == 3
        await trio.testing.wait_all_tasks_blocked()
        assert len(callbacks) == 3
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert told[2:] == [("slow", 1), ("slow", 2), "after"]
        assert len(callbacks) == 0
        callbacks.call([slow], 3)
        await trio.testing.wait_all_tasks_blocked()
        assert told[-1] == ("slow", 3)
        nursery.cancel_scope.cancel()


def test_after_is_at_once_if_none_waits():
    told = []
    Callbacks().after(lambda: told.append("after"))
    assert told == ["after"]


async def test_what_raises_is_logged_and_the_others_are_called():
    callbacks = Callbacks()
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
            callbacks.call([fail_now, fail_later, lambda: told.append("plain"), work])
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert told == ["plain", "async"]
    assert [line["callback"].rpartition(".")[2] for line in logs] == ["fail_now", "fail_later"]
