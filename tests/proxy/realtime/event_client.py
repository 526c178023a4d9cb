"""A client of event streams and polls, over a socket: requests of HTTP/1.1 on one connection."""

import json

import trio

from tests.protocols.clients.sse.asked import blocks
from tests.waiting import PATIENCE


class EventClient:
    """status, headers: of the last answer. id: of the last event, or of the last poll."""

    def __init__(self, stream):
        self._stream = stream
        self._buffer = b""
        self._events = []
        self._text = b""
        self._is_chunked = False
        self.id = ""

    @classmethod
    async def connect(cls, proxy):
        return cls(await trio.open_tcp_stream("127.0.0.1", proxy.client_port))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await trio.aclose_forcefully(self._stream)

    async def get(self, target, *headers):
        """Ask, and read the head of the answer. Returns its status."""
        lines = [f"GET {target} HTTP/1.1", "Host: x", *headers, "", ""]
        await self._stream.send_all("\r\n".join(lines).encode())
        head = (await self._until(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.status = int(first.split()[1])
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"
        self._events, self._text = [], b""
        return self.status

    async def body(self):
        """Of an answer that has a length."""
        size = int(self.headers["content-length"])
        while len(self._buffer) < size:
            await self._receive()
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return body

    async def poll(self, target):
        """The messages of its answer."""
        shown = f"&last_event_id={self.id}" if self.id else ""
        assert await self.get(f"{target}{shown}") == 200
        answer = json.loads(await self.body())
        self.id = answer["id"]
        self.answer = answer
        return answer["messages"]

    async def event(self):
        """The next event, as its fields; None: the stream has ended."""
        while not self._events:
            assert self._is_chunked
            size = int(await self._until(b"\r\n"), 16)
            while len(self._buffer) < size + 2:
                await self._receive()
            self._text += self._buffer[:size]
            self._buffer = self._buffer[size + 2 :]
            if not size:
                return None
            whole, _, self._text = self._text.rpartition(b"\n\n")
            self._events = blocks(whole)
        event = self._events.pop(0)
        self.id = event.get("id", self.id)
        return event

    async def message(self):
        """The data of the next message."""
        while "data" not in (event := await self.event()) or "event" in event:
            pass
        return event["data"]

    async def _until(self, end):
        while end not in self._buffer:
            await self._receive()
        line, _, self._buffer = self._buffer.partition(end)
        return line

    async def _receive(self):
        with trio.fail_after(PATIENCE):
            data = await self._stream.receive_some()
        if not data:
            raise ConnectionError("it is closed")
        self._buffer += data
