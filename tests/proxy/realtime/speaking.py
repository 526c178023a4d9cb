"""Clients that subscribe and publish, in lines of JSON: an adapter that has words for channels, and nothing else.

A line is a request: {"subscribe": "room:1"}, with "since": [epoch, offset], "token", "data", "filter"; {"unsubscribe":
"room:1"}; {"publish": "room:1", "text": "hello"}; anything else is a message for a node. Each has an "id", which its
answer has, too. What the client is told is a line of JSON as well.
"""

import json
import socket
from math import inf

import trio

from holdfast.protocols.clients.base import UNITS_PER_CALL
from holdfast.protocols.clients.events import Finished, Message, Opened, Publish, Subscribe, Unsubscribe
from holdfast.protocols.close import Reason
from holdfast.protocols.positions import Position
from tests.waiting import PATIENCE


class JsonLines:
    name = "json-lines"
    eventless = 0
    all_said = False
    wire_format = "json-lines"

    def __init__(self, limits, address, now, headers=()):
        self.deadline = inf
        self.paused = self.has_more = False
        self._address = address
        self._headers = list(headers)
        self._buffer = b""
        self._lines = []
        self._is_opened = self._is_over = False

    @property
    def held_bytes(self):
        return 0 if self._is_over else len(self._buffer) + sum(map(len, self._lines))

    def receive_data(self, data, now):
        if self._is_over:
            return []
        events = []
        if not self._is_opened:
            self._is_opened = True
            events.append(Opened(self.name, "/", self._headers, self._address))
        if not data:
            self._is_over = True
            return [*events, Finished(Reason.CLIENT_LEFT)]
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self._lines += lines
        return [*events, *self.resume(now)]

    def resume(self, now):
        lines, self._lines = self._lines[:UNITS_PER_CALL], self._lines[UNITS_PER_CALL:]
        self.has_more = self.paused = bool(self._lines)
        return [event(json.loads(line), line) for line in lines if line]

    def on_deadline(self, now):
        return []

    def reply(self, request, head, payload, is_text, more):
        return said(id=request.context, reply=None if payload is None else payload.decode())

    def error(self, request, error):
        return said(id=request.context, error=error.reason.value, why=str(error), status=error.http_status)

    def notification(self, payload, is_text):
        return said(message=payload.decode())

    def close(self, reason, detail, now):
        if self._is_over:
            return b""
        self._is_over = True
        self.deadline = now
        self.on_deadline = lambda now: [Finished(reason)]
        return said(closed=reason.value, why=detail)

    def subscribed(self, request, told):
        fields = {"position": told.position and list(told.position), "recovered": told.recovered}
        fields |= {"missed": [[each.offset, each.payload.decode()] for each in told.missed], "why": told.detail}
        fields |= {"info": told.info.decode(), "expires": told.expires}
        return said(id=request.context, subscribed=told.channel, **{name: it for name, it in fields.items() if it})

    def unsubscribed(self, request):
        return said(id=request.context, unsubscribed=request.channel)

    def dropped(self, channel, error):
        return said(dropped=channel, reason=error.reason.value, why=str(error))

    def joined(self, channel):
        return said(joined=channel)

    def left(self, channel):
        return said(left=channel)

    def published(self, request):
        return said(id=request.context, published=request.channel)

    def publication(self, channel, epoch, publication):
        fields = {"offset": publication.offset, "epoch": epoch, "sender": publication.sender.decode()}
        text = publication.payload.decode()
        return said(channel=channel, text=text, **{name: it for name, it in fields.items() if it})


def event(asked, line):
    id = asked.get("id")
    if "subscribe" in asked:
        since = Position(*asked["since"]) if "since" in asked else None
        data = json.dumps(asked["data"]).encode() if "data" in asked else b""
        return Subscribe(asked["subscribe"], since, data, asked.get("token", ""), asked.get("filter", False), id)
    if "unsubscribe" in asked:
        return Unsubscribe(asked["unsubscribe"], asked.get("filter", False), id)
    if "publish" in asked:
        return Publish(asked["publish"], asked["text"].encode(), True, id)
    return Message(line, True, id)


def said(**fields):
    return json.dumps(fields).encode() + b"\n"


class Speaker:
    """A client of a proxy that runs, or stands still. heard: what has come, as dicts. headers: of its handshake."""

    def __init__(self, app, headers=()):
        ours, self._socket = socket.socketpair()
        ours.setblocking(False)
        self._socket.setblocking(False)
        self._app = app
        self._buffer = b""
        self.heard = []

        def protocol(limits, address, now):
            return JsonLines(limits, address, now, headers)

        self.connection = app.clients.add(ours.detach(), "192.0.2.1:5", None, protocol)
        self.id = self.connection.id
        self._asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._socket.close()

    def say(self, *lines):
        """Returns the id of the last one."""
        data = b""
        for line in lines:
            self._asked += 1
            data += json.dumps({"id": self._asked, **line}).encode() + b"\n"
        self._socket.send(data)
        return self._asked

    def say_now(self, *lines):
        """Without the reactor: as if it had just read that."""
        id = self.say(*lines)
        self.connection.transport.on_ready(1, self._app.reactor.now)
        return id

    def look(self):
        """What has come since this was asked last."""
        self._app.clients.flush(self._app.reactor.now)
        try:
            while data := self._socket.recv(1 << 20):
                self._buffer += data
        except BlockingIOError:
            pass
        *lines, self._buffer = self._buffer.split(b"\n")
        new = list(map(json.loads, lines))
        self.heard += new
        return new

    async def recv(self):
        """The next line."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._buffer:
                await trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(1 << 20)
                if not data:
                    raise ConnectionError("it is closed")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        self.heard.append(json.loads(line))
        return self.heard[-1]

    async def ask(self, **line):
        """Its answer; what came before that is in `heard`."""
        id = self.say(line)
        while (got := await self.recv()).get("id") != id:
            pass
        return {name: it for name, it in got.items() if name != "id"}
