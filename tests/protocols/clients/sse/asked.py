"""A connection at a port with doors, driven as the proxy does it: what it says, and whom it is asked for."""

from holdfast.protocols.clients.base import Limits, Subscribed
from holdfast.protocols.clients.events import Closed, Finished, Opened, Output, Subscribe, Switch
from holdfast.protocols.clients.http_doors import HttpWithDoors
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication

LIMITS = Limits(doors=("sse:/events", "sse:/in/{channel}"), ping_interval=10.0)
ADDRESS = "192.0.2.1:50000"


def get(target, *headers, version="1.1", method="GET"):
    lines = [f"{method} {target} HTTP/{version}", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode()


class Asked:
    """said: all that was written. events: those that are told otherwise. waiting: subscriptions without an answer."""

    def __init__(self, *requests, limits=LIMITS):
        self.now = 100.0
        self.protocol = HttpWithDoors(limits, ADDRESS, self.now)
        self.said = b""
        self.events = []
        self.waiting = []
        for request in requests:
            self.receive(request)

    def receive(self, data):
        self._take(self.protocol.receive_data(data, self.now))
        self.go_on()

    def go_on(self):
        while self.protocol.has_more:
            self._take(self.protocol.resume(self.now))

    def pass_time(self, seconds):
        self.now += seconds
        if self.protocol.deadline <= self.now:
            self._take(self.protocol.on_deadline(self.now))
            self.go_on()

    def _take(self, events):
        for event in events:
            match event:
                case Output():
                    self.said += event.data
                case Subscribe():
                    self.waiting.append(event)
                case Switch():
                    self.protocol = event.protocol
                    if event.data:
                        self._take(self.protocol.receive_data(event.data, self.now))
                case _:
                    self.events.append(event)

    @property
    def told(self):
        """The kinds of events."""
        return [type(event) for event in self.events]

    @property
    def opened(self):
        [opened] = [event for event in self.events if isinstance(event, Opened)]
        return opened

    @property
    def body(self):
        """What is said after the last head, without its chunks' sizes."""
        head, _, body = self.said.rpartition(b"HTTP/1.")[2].partition(b"\r\n\r\n")
        return unchunked(body) if b"chunked" in head else body

    @property
    def status(self):
        return int(self.said.rpartition(b"HTTP/1.")[2].split()[1])

    def header(self, name):
        lines = self.said.rpartition(b"HTTP/1.")[2].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return next((line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}: ")), None)

    def grant(self, *, position=None, **more):
        """The subscription that has waited longest."""
        request = self.waiting.pop(0)
        at = None if position is None else Position("epoch", position)
        self._answered(self.protocol.subscribed(request, Subscribed(request.channel, at, **more)))

    def refuse(self, reason, text="no"):
        self._answered(self.protocol.error(self.waiting.pop(0), HoldfastError(text, reason)))

    def _answered(self, data):
        self.said += data
        if not self.protocol.paused:
            self._take(self.protocol.resume(self.now))
            self.go_on()

    def publish(self, channel, payload, offset=0, *, is_text=True, epoch="epoch", sender=b""):
        publication = Publication(payload, is_text, offset, sender)
        self.said += self.protocol.publication(channel, epoch if offset else "", publication)
        self.go_on()

    def drop(self, channel, reason):
        self.said += self.protocol.dropped(channel, HoldfastError("so it is", reason))
        self.go_on()

    def close(self, reason, detail="it is over"):
        self.said += self.protocol.close(reason, detail, self.now)
        self.pass_time(0.0)


def unchunked(data):
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        body, data = body + data[:count], data[count + 2 :]
        if not count:
            assert not data, data
            return body
    return body


def is_ended(data):
    return data.endswith(b"0\r\n\r\n")


def blocks(body):
    """Events, as the fields of each; without heartbeats."""
    events = []
    for block in body.decode().split("\n\n"):
        fields = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if name == "data" and "data" in fields:
                fields["data"] += "\n" + value
            elif name and not line.startswith(":"):
                fields[name] = value
        if fields:
            events.append(fields)
    return events


__all__ = ["ADDRESS", "LIMITS", "Asked", "Closed", "Finished", "blocks", "get", "is_ended"]
