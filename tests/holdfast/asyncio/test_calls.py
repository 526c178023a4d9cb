"""What an asyncio node is asked besides requests: its functions run in asyncio, and each is answered."""

import pytest
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect

import holdfast.testing

pytestmark = pytest.mark.slow

NODE = """
import asyncio
from holdfast import Refused, Session
from holdfast.asyncio import Node

node = Node("calls")
told = []

@node.on_connect
async def admit(client):
    await asyncio.sleep(0)
    if client.query == "no":
        raise Refused(403, "not you")
    return Session(user=client.query)

@node.on_open(once=True)
async def opened(client):
    await asyncio.sleep(0)
    told.append(client.user)

@node.on_ask
async def answer(question):
    await asyncio.sleep(0)
    return [question.text, *told]

@node.on_request
async def handle(request):
    return (await node.ask("calls", request.text)).text
"""


async def test_each_kind_of_call_is_answered(tmp_path, monkeypatch):
    (tmp_path / "calls_of_asyncio.py").write_text(NODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    async with holdfast.testing.proxy() as proxy:
        await proxy.node_process("calls_of_asyncio:node")
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"{proxy.url}/?no").__aenter__()
        async with connect(f"{proxy.url}/?ada") as client:
            await client.send("hello")
            assert await client.recv() == '["hello","ada"]'
