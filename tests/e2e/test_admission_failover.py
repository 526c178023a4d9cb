"""Clients come in waves while nodes are killed: each is admitted or refused once, and told of at least once."""

import os
import random
import signal
from collections import defaultdict
from contextlib import AsyncExitStack

import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

import holdfast.testing

pytestmark = pytest.mark.slow

NODE = "tests.e2e.admitting_node:node"
CLIENTS, WAVE, NODES = 1000, 50, 3


async def test_each_is_admitted_or_refused_once_and_told_of_at_least_once(tmp_path, monkeypatch):
    book = tmp_path / "book"
    monkeypatch.setenv("ADMISSION_BOOK", str(book))
    outcomes: dict[str, list[str]] = defaultdict(list)
    async with holdfast.testing.proxy(request={"timeout": 30.0, "parked_timeout": 20.0, "max_attempts": 10}) as proxy:
        nodes = [await proxy.node_process(NODE) for _ in range(NODES)]
        kills = 0

        async def kill_and_replace():
            nonlocal kills
            while True:
                await proxy.wait_until(lambda status: sum(n["state"] == "ready" for n in status["nodes"]) == NODES)
                victim = nodes.pop(random.randrange(NODES))
                os.kill(victim.pid, signal.SIGKILL)
                await victim.wait()
                kills += 1
                nodes.append(await proxy.node_process(NODE))

        async def come(name):
            try:
                async with connect(f"{proxy.url}/?{name}", open_timeout=60) as client:
                    await client.send("who am I?")
                    assert await client.recv() == name
                outcomes[name].append("admitted")
            except InvalidStatus as error:
                outcomes[name].append(f"refused {error.response.status_code}")
            except (ConnectionClosed, httpx.HTTPError) as error:
                outcomes[name].append(f"lost {error!r}")

        names = [f"{'no' if number % 5 == 0 else 'yes'}-{number}" for number in range(CLIENTS)]
        async with trio.open_nursery() as killing:
            killing.start_soon(kill_and_replace)
            for start in range(0, CLIENTS, WAVE):
                async with trio.open_nursery() as wave:
                    for name in names[start : start + WAVE]:
                        wave.start_soon(come, name)
            killing.cancel_scope.cancel()
        admitted = [name for name in names if name.startswith("yes")]
        with trio.fail_after(60):
            while len(told_of(book, "close")) < len(admitted):  # noqa: ASYNC110
                await trio.sleep(0.1)  # a file has no trio.Event
    assert kills > 0
    expected = {name: ["admitted" if name.startswith("yes") else "refused 403"] for name in names}
    assert {name: outcomes[name] for name in names} == expected
    told = lines_of(book)
    for name in admitted:
        events = [(what, again) for what, again in told[name] if what != "connect"]
        assert events[0] == ("open", "first") or ("open", "again") in events, events
        for what in ("open", "close"):
            firsts = [again for each, again in events if each == what]
            assert firsts, (name, events)
            assert firsts.count("first") <= 1, (name, events)
        order = [what for what, _ in events]
        assert "open" not in order[order.index("close") :], (name, events)
    assert not any(what != "connect" for name in names if name.startswith("no") for what, _ in told[name])


@pytest.mark.parametrize("is_alone", [True, False], ids=["restarted", "of two"])
async def test_each_is_told_as_come_and_gone_though_its_proxy_is_killed(tmp_path, monkeypatch, is_alone):
    """By the one that is started in its place, or another one. Some had not been told as come yet."""
    book = tmp_path / "book"
    monkeypatch.setenv("ADMISSION_BOOK", str(book))
    monkeypatch.setenv("ADMISSION_SLOW", "1.0")
    store = {"kind": "sqlite", "path": str(tmp_path / "store")}
    kept = {} if is_alone else {"store": store, "cluster": {"pub": "tcp://127.0.0.1:*"}}
    names = [f"yes-{number}" for number in range(20)]
    async with holdfast.testing.proxy(**kept) as first, AsyncExitStack() as stack:
        place = {"node": {"bind": first.node_address}} if is_alone else {}
        other = None if is_alone else await stack.enter_async_context(holdfast.testing.proxy(**kept))
        await first.node_process(NODE)
        if other is not None:
            await other.wait_until(lambda status: [each["state"] for each in status["nodes"]] == ["ready"])
        clients = [await stack.enter_async_context(connect(f"{first.url}/?{name}")) for name in names[:10]]
        while len(told_of(book, "open")) < 10:  # noqa: ASYNC110 - a file has no trio.Event
            await trio.sleep(0.1)
        clients += [await stack.enter_async_context(connect(f"{first.url}/?{name}")) for name in names[10:]]
        while len(told_of(book, "begins")) < 20:  # noqa: ASYNC110
            await trio.sleep(0.01)
        first.process.kill()
        if other is None:
            await first.process.wait()
            await stack.enter_async_context(holdfast.testing.proxy(**place))
        with trio.fail_after(60):
            while len(told_of(book, "close")) < len(names):  # noqa: ASYNC110
                await trio.sleep(0.1)
        for client in clients:
            with pytest.raises(ConnectionClosed):
                await client.recv()
    told = lines_of(book)
    for name in names:
        events = [(what, again) for what, again in told[name] if what in ("open", "close")]
        assert events in ([("open", "first"), ("close", "again")], [("open", "again"), ("close", "again")]), events
    assert ("open", "first") in told[names[0]]
    assert any(("open", "again") in told[name] for name in names[10:])


def lines_of(book):
    told = defaultdict(list)
    if not book.exists():
        return told
    for line in book.read_text(encoding="utf-8").splitlines():
        what, name, _, again, *_ = line.split(" ")
        told[name].append((what, again))
    return told


def told_of(book, kind):
    return {name for name, events in lines_of(book).items() if any(what == kind for what, _ in events)}
