"""The conformance kit: whether an adapter keeps the laws of the seam (protocols.clients.base).

For authors of adapters, in a test of their own:

    def test_conforms():
        check(MyProtocol, b"what a client sends", random.Random(1))

It drives the adapter as the proxy does: replies to each request, honours `paused`, calls `resume` and `on_deadline`,
follows a Switch. The bytes are the script as it is, the script damaged, and noise, each cut in many ways. A broken law
raises Violation; an exception of the adapter's own comes through as it is. The laws:

- No bytes make a method raise. `reply` may raise ProtocolError, and then `error` is still accepted.
- The same bytes give the same events however they are cut (adjacent Outputs count as one).
- `Finished` comes once, nothing comes after it; a `Switch` ends its list too. `Opened` comes once at most, and again
  after a `Closed`, which comes after it and when nothing waits for an answer.
- An event is of one of the types of protocols.clients.events, not of a subclass. `Opened` comes before a Message, and
  before Subscribe, Unsubscribe, Publish and Refresh: adapters that are KnowsChannels and KnowsSession may give those.
- An `Opened` with `refuse` comes before the answer of its handshake: an Output follows in the same call, or `begun`
  says it, or it comes when what follows, a Subscribe, is granted; and none is before it there. `refuse` makes bytes,
  and the connection ends with them. Without `refuse` a session that may not begin is told so by `close`, and its
  messages have been answered by `error`: `Finished` comes then. (That an Output of an earlier call, or one without
  `refuse`, does not tell the client that its session stands, nobody can see from outside.)
- The text of a Message is UTF-8. What is to be written is bytes.
- `paused` is True only while a request waits for its reply, and with `has_more`. In the first case nothing but
  `Finished` comes, and no byte is lost.
- A call gives no more than UNITS_PER_CALL events, and as many as belong to its last unit; what has come beyond that,
  `resume` gives, for as long as there is `has_more`.
- A part of a reply is followed by others, or `all_said` is True: then the request is answered.
- `held_bytes` is what has come without an event, but for a KiB; after `Finished` it is 0.
- `eventless` counts from 0, and in a call no more than UNITS_PER_CALL.
- `on_deadline` does nothing before `deadline`; at `deadline` it ends the connection or moves the deadline on.
- `Silent` comes last, with the deadline moved on: it may be passed over, or answered by `close`.
- After an end of file, and after `close`, `Finished` comes: at once, with the last reply, or by the deadline.
- With `close` said again as DRAINING, it is at once, with the last reply, or within `close_timeout`.
- Adapters of equal `wire_format` encode a notification, and a publication, to equal bytes.
"""

from math import inf
from typing import Protocol

from holdfast.protocols.clients.base import KnowsChannels, Limits, ProtocolFactory
from holdfast.protocols.clients.drive import MAX_READ_BYTES, MAX_STEPS, Drive, Violation, violated
from holdfast.protocols.clients.events import Request
from holdfast.protocols.close import Reason
from holdfast.protocols.positions import Publication

__all__ = ["Violation", "check"]


class Random(Protocol):
    """The part of random.Random that is used: the caller seeds it, so that a failure can be repeated."""

    def randrange(self, start: int, stop: int, /) -> int: ...
    def randbytes(self, n: int, /) -> bytes: ...


def check(
    factory: ProtocolFactory, script: bytes, random: Random, *, limits: Limits | None = None, rounds: int = 30
) -> None:
    """Raises Violation if an adapter that `factory` makes breaks a law.

    script: what a client sends in one good connection, from its first byte, with one request at least. Keep it to a few
    KiB: it is run some ten times a round.
    """
    limits = limits or Limits()
    expected = _run(factory, limits, [script])
    if not any(isinstance(entry, Request) for entry in expected):
        raise ValueError("the script must make the adapter give a request, else it shows nothing")
    _check_cuts(factory, limits, script, random, [script[at : at + 1] for at in range(len(script))])
    _check_silence(factory, limits, b"")
    _run(factory, limits, [script * (MAX_READ_BYTES // len(script) + 1)])
    for _ in range(rounds):
        for data in (script, _damaged(script, random), random.randbytes(random.randrange(1, 200))):
            _check_cuts(factory, limits, data, random, _cut(data, random))
        _check_silence(factory, limits, _beginning(script, random))
        _check_notifications(factory, limits, _beginning(script, random), _beginning(script, random))
        for reason in (Reason.DRAINING, Reason.KICKED):
            _check_close(factory, limits, script, random, reason)
    for pieces in ([script], _cut(script, random)):
        _check_refusal(factory, limits, pieces)


def _check_cuts(factory: ProtocolFactory, limits: Limits, data: bytes, random: Random, pieces: list[bytes]) -> None:
    expected = _run(factory, limits, [data])
    for replies_late in (False, True):
        trace = _run(factory, limits, pieces, replies_late=replies_late)
        if trace != expected:
            cuts = [len(piece) for piece in pieces]
            violated(f"events depend on how bytes are cut: pieces of {cuts} gave {trace}, one piece {expected}")


def _check_silence(factory: ProtocolFactory, limits: Limits, data: bytes) -> None:
    """A peer that falls silent: deadlines come one by one, until the end or for as long as the adapter will wait."""
    drive = Drive(factory, limits)
    if data:
        drive.receive(data)
    for _ in range(MAX_STEPS):
        if drive.is_finished or drive.protocol.deadline == inf:
            break
        drive.step()


def _check_close(factory: ProtocolFactory, limits: Limits, script: bytes, random: Random, reason: Reason) -> None:
    drive = Drive(factory, limits, replies_late=bool(random.randrange(0, 2)))
    drive.receive(_beginning(script, random))
    if not drive.is_finished:
        drive.written(drive.protocol.close(reason, "conformance", drive.now))
        if random.randrange(0, 2):
            drive.written(drive.protocol.close(Reason.DRAINING, "conformance", drive.now))
            if drive.protocol.deadline > drive.now + limits.close_timeout and not drive.protocol.paused:
                violated("close() said again leaves it waiting for more than close_timeout")
        drive.settle()
        drive.expect_end("close()")


def _check_refusal(factory: ProtocolFactory, limits: Limits, pieces: list[bytes]) -> None:
    """One whose session may not begin."""
    drive = Drive(factory, limits, refuses=True)
    for piece in pieces:
        drive.receive(piece)
    drive.settle()
    if drive.is_refused:
        drive.expect_end("a refusal")


def _check_notifications(factory: ProtocolFactory, limits: Limits, first: bytes, second: bytes) -> None:
    """Two connections, each as it is after its own part of the script."""
    drives = [Drive(factory, limits), Drive(factory, limits)]
    for drive, data in zip(drives, (first, second), strict=True):
        drive.receive(data)
        if drive.is_finished:
            return
    formats = [drive.protocol.wire_format for drive in drives]
    for payload, is_text in ((b"", True), ("n\u00f6tig".encode(), True), (b"\x00\xff" * 5000, False)):
        said = [drive.written(drive.protocol.notification(payload, is_text)) for drive in drives]
        if formats[0] is not None and formats[0] == formats[1] and said[0] != said[1]:
            violated(f"two adapters of wire_format {formats[0]!r} encode a notification differently")
        told = Publication(payload, is_text, 7, b"{}")
        said = [
            drive.written(drive.protocol.publication("c", "epoch", told))
            for drive in drives
            if isinstance(drive.protocol, KnowsChannels)
        ]
        if formats[0] is not None and formats[0] == formats[1] and said != said[:1] * len(said):
            violated(f"two adapters of wire_format {formats[0]!r} encode a publication differently")


def _run(factory: ProtocolFactory, limits: Limits, pieces: list[bytes], *, replies_late: bool = False) -> list[object]:
    """One connection from its first byte to its end: the events."""
    drive = Drive(factory, limits, replies_late=replies_late)
    for piece in pieces:
        drive.receive(piece)
    drive.settle()
    if not drive.is_finished:
        drive.receive(b"")
        drive.settle()
    drive.expect_end("an end of file")
    return drive.trace


def _cut(data: bytes, random: Random) -> list[bytes]:
    pieces = []
    while data:
        size = random.randrange(1, random.randrange(2, len(data) + 3))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def _beginning(script: bytes, random: Random) -> bytes:
    """Some of it. At least a byte: none would be an end of file."""
    return script[: random.randrange(1, len(script) + 1)]


def _damaged(script: bytes, random: Random) -> bytes:
    """The script with some bytes changed, left out, or put in."""
    data = bytearray(script)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(0, len(data) + 1)
        data[at : at + random.randrange(0, 3)] = random.randbytes(random.randrange(0, 3))
    return bytes(data)
