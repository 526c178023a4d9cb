"""Background jobs as their authors have them: with a whole proxy, and nodes that are killed."""

import signal

import pytest
import trio
from websockets.trio.client import connect

import holdfast.testing
from holdfast import LifespanError, Node

MODULE = """
from holdfast import Node

node = Node("background_app")

@node.lifespan
async def around():
    node.start_soon(say, f"{node.id} has begun")
    yield

async def say(text):
    await node.broadcast(text)

@node.every(0.05, on="master")
async def job():
    await node.broadcast(f"{node.id} {node.epoch}")
"""


async def test_a_job_of_the_masters_runs_at_one_node_and_then_at_another(tmp_path, monkeypatch):
    (tmp_path / "background_app.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(120):
        async with holdfast.testing.proxy() as proxy, connect(proxy.url) as client:

            async def turn():
                while (text := await client.recv()).endswith("has begun"):
                    pass
                return tuple(text.split())

            first = await proxy.node_process("background_app:node", "--id", "first")
            assert await client.recv() == "first has begun"
            await proxy.node_process("background_app:node", "--id", "second")
            heard = [await turn() for _ in range(20)]
            assert {node for node, _ in heard} == {"first"}
            first.kill()
            while (later := await turn())[0] == "first":
                pass
            assert later[0] == "second"
            assert int(later[1]) > int(heard[0][1])
            assert {await turn() for _ in range(20)} == {later}


async def test_a_drained_process_leaves_its_lifespan(tmp_path, monkeypatch):
    (tmp_path / "lifespan_app.py").write_text(
        MODULE.replace("    yield\n", f"    yield\n    open({str(tmp_path / 'left')!r}, 'w').close()\n", 1)
    )
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(120):
        async with holdfast.testing.proxy() as proxy:
            process = await proxy.node_process("lifespan_app:node")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    assert (tmp_path / "left").exists()


async def test_a_node_within_a_test_has_it_too():
    node, told = Node("test"), []

    @node.lifespan
    async def around():
        told.append("entered")
        try:
            yield
        finally:
            told.append("left")

    with trio.fail_after(120):
        async with holdfast.testing.proxy() as proxy:
            async with proxy.node(node):
                assert told == ["entered"]
            assert told == ["entered", "left"]

            @node.lifespan
            async def broken():
                raise OSError("no database")
                yield

            with pytest.raises(LifespanError, match="broken failed: OSError: no database"):
                async with proxy.node(node):
                    pass
