"""The conformance kit: the adapters here pass, and for each law an adapter that breaks it is caught."""

import random
from math import inf, nan

import pytest

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.centrifuge.port import CentrifugePort
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol
from holdfast.protocols.clients.conformance import Violation, check
from holdfast.protocols.clients.events import (
    Closed,
    Finished,
    HttpRequest,
    Message,
    Opened,
    Output,
    Publish,
    Refresh,
    Silent,
    Subscribe,
    Switch,
    Unsubscribe,
)
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.http_doors import HttpWithDoors
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.clients.within import Handshake, WithinWebSocket, limits_within
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n"
    b"HEAD /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    b"PUT /d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    b"DELETE /e HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\n\r\n"
)
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def frame(first, payload):
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


FRAMES = (
    frame(0x81, b"hello")
    + frame(0x89, b"ping")
    + frame(0x01, b"in ")
    + frame(0x8A, b"")
    + frame(0x80, "parts \u20ac".encode())
    + frame(0x81, b'{"p":1}')
    + frame(0x82, bytes(100))
    + frame(0x88, b"\x03\xe8bye")
)


CENTRIFUGE = frame(
    0x81, b'{"id":1,"connect":{"token":"t","data":{"a":1}}}\n{"id":2,"subscribe":{"channel":"c"}}'
) + b"".join(
    frame(0x81, line)
    for line in (
        b'{"id":3,"rpc":{"method":"m","data":1}}\n{"id":4,"publish":{"channel":"c","data":1}}',
        b"{}",
        b'{"id":5,"refresh":{"token":"u"}}\n\n{"id":6,"presence":{"channel":"c"}}',
        b'{"send":{"data":{"x":1}}}',
        b'{"id":7,"unsubscribe":{"channel":"c"}}\n{"id":8,"ping":{}}\n',
        b'{"id":9,"subscribe":{"channel":"c","recover":true,"epoch":"e","offset":1}}',
        b'{"id":10,"sub_refresh":{"channel":"c","token":"u"}}\n{"id":11,"refresh":{"token":"u"}}',
        b'{"id":12,"rpc":{"method":"m"}}\n' * 3,
        b"{}\n" * 41,
    )
)


STREAMS = (
    b"GET /events?channel=a&channel=b&envelope=1 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    b"GET /events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n"
)
POLLS = (
    b"OPTIONS /events HTTP/1.1\r\nHost: x\r\nOrigin: http://o\r\n\r\n"
    b"PUT /events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"
    b"HEAD /events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET /events?channel=a&channel=b&poll HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET /in/a%2Fb?poll=0 HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET /events?channel=a&channel=b&poll=5&last_event_id=x HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET /events?channel=a HTTP/1.0\r\n\r\n"
)


def centrifuge(limits, address, now):
    """As behind a port's handshake, from its first message."""
    inner = CentrifugeProtocol(limits, Handshake("/", (), address), now)
    return WithinWebSocket(limits_within(limits), inner, now)


def upgraded(*made_with):
    return Upgraded(*made_with)


@pytest.mark.parametrize("limits", [Limits(), Limits(compression=True, trusted_peers=("192.0.2.0/24",))])
@pytest.mark.parametrize(
    ("factory", "script"),
    [
        (HttpProtocol, REQUESTS),
        (HttpProtocol, REQUESTS[:29] + HANDSHAKE + FRAMES),
        (upgraded, FRAMES),
        (CentrifugePort, HANDSHAKE + CENTRIFUGE),
        (centrifuge, CENTRIFUGE + frame(0x88, b"\x03\xe8bye")),
        (centrifuge, CENTRIFUGE + frame(0x81, b"nonsense")),
    ],
    ids=["http", "upgrade", "websocket", "centrifuge", "its messages", "its end"],
)
def test_adapters_conform(factory, script, limits):
    check(factory, script, random.Random(20), limits=limits, rounds=25)


@pytest.mark.parametrize("script", [REQUESTS[:29] + STREAMS, POLLS], ids=["streams", "polls"])
def test_what_answers_requests_at_a_door_conforms(script):
    limits = Limits(doors=("sse:/events", "sse:/in/{channel}"), ping_interval=5.0)
    check(HttpWithDoors, script, random.Random(20), limits=limits, rounds=25)


class Lines:
    """A protocol of lines: each is a request, and none is read before the last one's reply. "bye" ends it."""

    name = "lines"
    wire_format = "lines"
    has_more = False
    all_said = False
    eventless = 0

    def __init__(self, limits, address, now):
        self.buffer = b""
        self.deadline = now + 10.0
        self.paused = False
        self.request = None
        self.ending = None
        self.finished = False
        self.eof = False
        self.opened = False

    @property
    def held_bytes(self):
        return 0 if self.finished else len(self.buffer)

    def receive_data(self, data, now):
        if self.finished:
            return []
        self.buffer += data
        self.eof = self.eof or not data
        opened, self.opened = [] if self.opened else [Opened("lines", "/", [])], True
        return [] if self.paused else [*opened, *self.advance()]

    def advance(self):
        if self.ending:
            return self.finish(self.ending)
        line, newline, rest = self.buffer.partition(b"\n")
        if newline:
            self.buffer = rest
            if line == b"bye":
                return [Output(b"bye\n"), *self.finish(Reason.CLIENT_LEFT)]
            self.paused, self.request = True, Message(line, False)
            return [self.request]
        return self.finish(Reason.CLIENT_LEFT) if self.eof else []

    def finish(self, reason):
        self.finished, self.deadline = True, inf
        return [Finished(reason)]

    def on_deadline(self, now):
        return self.finish(Reason.IDLE) if now >= self.deadline else []

    def reply(self, request, head, payload, is_text, more):
        if request is not self.request:
            raise ProtocolError("no such request", Reason.BAD_REPLY)
        if not more:
            self.paused, self.request = False, None
        return b"" if payload is None else payload + b"\n"

    def error(self, request, error):
        return self.reply(request, None, str(error).encode(), True, False) if request is self.request else b""

    def notification(self, payload, is_text):
        return payload + b"\n"

    def resume(self, now):
        return [] if self.finished else self.advance()

    def close(self, reason, detail, now):
        self.ending = reason
        self.deadline = now if not self.paused else self.deadline
        return b""


class Upgraded(Lines):
    """It goes on as a WebSocket at once."""

    def __init__(self, *made_with):
        super().__init__(*made_with)
        self.made_with = made_with

    def receive_data(self, data, now):
        if not data:
            return self.finish(Reason.CLIENT_LEFT)
        return [Opened("lines", "/", []), Switch(WebSocketProtocol(*self.made_with), data)]


SCRIPT = b"one\ntwo\n\nthree\nfour\nbye\n"


def test_a_small_adapter_of_one_s_own_conforms():
    check(Lines, SCRIPT, random.Random(1))


def test_so_does_one_in_which_a_reply_in_parts_may_be_over_with_the_first():
    check(OnlyFirstParts, SCRIPT, random.Random(1))


class DependsOnCuts(Lines):
    def receive_data(self, data, now):
        return super().receive_data(data if data.endswith(b"\n") or len(data) < 3 else data + b"\n", now)


class FinishedTwice(Lines):
    def receive_data(self, data, now):
        return [Finished(Reason.CLIENT_LEFT)] if self.finished else super().receive_data(data, now)


class EventsAreNoSequence(Lines):
    def receive_data(self, data, now):
        return iter(super().receive_data(data, now))


class FinishedIsNotLast(Lines):
    def finish(self, reason):
        return [*super().finish(reason), Output(b"more")]


class NeverFinished(Lines):
    def finish(self, reason):
        self.finished, self.deadline = True, inf
        return []


class OutputOfText(Lines):
    def advance(self):
        return [Output("text"), *super().advance()]


class ReplyOfText(Lines):
    def reply(self, *args):
        return super().reply(*args).decode()


class EventOfItsOwn(Lines):
    def advance(self):
        return ["hello", *super().advance()]


class IgnoresItsOwnPause(Lines):
    def receive_data(self, data, now):
        self.buffer += data
        self.eof = self.eof or not data
        opened, self.opened = [] if self.opened else [Opened("lines", "/", [])], True
        return [] if self.finished else [*opened, *self.advance()]


class LosesWhatComesWhilePaused(Lines):
    def receive_data(self, data, now):
        return [] if self.paused and data else super().receive_data(data, now)


class PausedForNothing(Lines):
    def __init__(self, *args):
        super().__init__(*args)
        self.paused = True


class StaysPaused(Lines):
    def reply(self, *args):
        said = super().reply(*args)
        self.paused = True
        return said


class AnswersTwice(Lines):
    def reply(self, request, head, payload, is_text, more):
        if not more:
            self.paused = False
        return payload


class OnlyFirstParts(Lines):
    """Conforms: of a reply in parts only the first can be said."""

    @property
    def all_said(self):
        return self.request is None

    def reply(self, request, head, payload, is_text, more):
        return super().reply(request, head, payload, is_text, False)


class EndsUntold(OnlyFirstParts):
    all_said = False


class AllSaidAndGoesOn(Lines):
    all_said = True


class DeadlineOfNoNumber(Lines):
    def receive_data(self, data, now):
        self.deadline = nan
        return super().receive_data(data, now)


class ActsBeforeItsDeadline(Lines):
    def on_deadline(self, now):
        return [] if self.finished else self.finish(Reason.IDLE)


class IgnoresItsDeadline(Lines):
    def on_deadline(self, now):
        return []


class OpensNothing(Lines):
    def receive_data(self, data, now):
        self.opened = True
        return super().receive_data(data, now)


class Asked(Message):
    pass


class OfAKindOfItsOwn(Lines):
    def advance(self):
        return [Asked(e.payload, e.is_text) if type(e) is Message else e for e in super().advance()]


class OpensTwice(Lines):
    def advance(self):
        return [Opened("lines", "/", []), *super().advance()]


class TextThatIsNone(Lines):
    def advance(self):
        events = super().advance()
        if self.request and self.request.payload == b"two":
            self.request.payload, self.request.is_text = b"\xff", True
        return events


class SwitchIsNotLast(Lines):
    def advance(self):
        return [Switch(Lines(None, "", 0.0), b""), *super().advance(), Output(b"")]


class OwnWayOfNotifying(Lines):
    said = b""

    def reply(self, *args):
        self.said = super().reply(*args)
        return self.said

    def notification(self, payload, is_text):
        return self.said + payload


class MoreThanAShare(Lines):
    def advance(self):
        return [*[Output(b".")] * 1000, *super().advance()]


class MoreWithoutPause(Lines):
    @property
    def has_more(self):
        return self.request is None and not self.finished


class MoreAfterTheEnd(Lines):
    @property
    def has_more(self):
        return self.finished

    def finish(self, reason):
        self.paused = True
        return super().finish(reason)


class SilentIsNotLast(Lines):
    def on_deadline(self, now):
        return [Silent("nothing came"), *self.finish(Reason.IDLE)] if now >= self.deadline else []


class SilentAndNoMore(Lines):
    def on_deadline(self, now):
        return [Silent("nothing came")] if now >= self.deadline else []


class HoldsAfterTheEnd(Lines):
    @property
    def held_bytes(self):
        return len(SCRIPT)


class HoldsLessThanNothing(Lines):
    @property
    def held_bytes(self):
        return -1


class CountsBackwards(Lines):
    @property
    def eventless(self):
        return -len(self.buffer)


class CountsMoreThanAShare(Lines):
    @property
    def eventless(self):
        return 1000 * self.finished


class WaitsForTheRest(Lines):
    def close(self, reason, detail, now):
        self.ending = reason
        self.deadline = self.deadline if self.buffer else now
        return b""


class SaysThatItStands(Lines):
    """It says hello where its session begins, and may be refused in place of that."""

    hello = (Output(b"hello\n"),)
    before = ()

    def receive_data(self, data, now):
        opened, self.opened = self.opened, True
        events = super().receive_data(data, now)
        return events if opened else [*self.before, self.opening(), *self.hello, *events]

    def opening(self):
        return Opened("lines", "/", [], refuse=lambda error: str(error).encode())


class SaysSoTooEarly(SaysThatItStands):
    before = SaysThatItStands.hello


class NeverSaysSo(SaysThatItStands):
    hello = ()


class RefusesInText(SaysThatItStands):
    def opening(self):
        return Opened("lines", "/", [], refuse=str)


class RefusesWithoutAWord(SaysThatItStands):
    def opening(self):
        return Opened("lines", "/", [], refuse=lambda error: b"")


class CantBeRefused(Lines):
    """What waits for its reply is answered, and that is not the end."""

    def error(self, request, error):
        if self.ending is None and request is self.request and error.reason is Reason.UNAUTHORIZED:
            self.finish = lambda reason: []
        return super().error(request, error)


class KnowsMore(Lines):
    """Lines that begin with "+" subscribe, with "-" unsubscribe, with "=" publish, with "?" show a token."""

    def advance(self):
        events = super().advance()
        for place, event in enumerate(events):
            if type(event) is Message and event.payload[:1] in KINDS:
                self.paused, self.request = False, None
                kind, channel = KINDS[event.payload[:1]], event.payload[1:].decode("latin-1")
                events[place] = kind(channel, b"", True) if kind is Publish else kind(channel)
                return [*events, *self.advance()]
        return events

    def reply(self, request, head, payload, is_text, more):
        if not isinstance(request, Message):
            return b""
        return super().reply(request, head, payload, is_text, more)

    def begun(self, opened, said):
        return b"begun\n"

    def refreshed(self, request, expires):
        return b"refreshed\n"

    def not_refreshed(self, request, error):
        return b"not refreshed\n"

    def subscribed(self, request, said):
        return b"subscribed\n"

    def unsubscribed(self, request):
        return b"unsubscribed\n"

    def dropped(self, channel, error):
        return b"dropped\n"

    def published(self, request):
        return b"published\n"

    def publication(self, channel, epoch, publication):
        return publication.payload


KINDS = {b"+": Subscribe, b"-": Unsubscribe, b"=": Publish, b"?": Refresh}
KNOWING = b"one\n+c\n=c\n-c\n?token\ntwo\n+d\n?token\n=e\n"


def test_one_that_has_words_for_channels_and_sessions_conforms():
    check(KnowsMore, KNOWING, random.Random(1))


class BeginsWithoutAWord(KnowsMore):
    def begun(self, opened, said):
        return b""


class BeginsInText(KnowsMore):
    def begun(self, opened, said):
        return "begun"


class ShowsTokensInVain(KnowsMore):
    refreshed = None

    def __getattribute__(self, name):
        if name == "refreshed":
            raise AttributeError(name)
        return super().__getattribute__(name)


class RefreshesInText(KnowsMore):
    def not_refreshed(self, request, error):
        return "no"


class SubscribesInText(KnowsMore):
    def subscribed(self, request, said):
        return said.channel


class UnsubscribesInText(KnowsMore):
    def unsubscribed(self, request):
        return request.channel


class SubscribesToNobody(KnowsMore):
    opened = True

    def __init__(self, *args):
        super().__init__(*args)
        self.opened = True


class OwnWayOfPublishing(KnowsMore):
    said = b""

    def reply(self, *args):
        self.said = super().reply(*args)
        return self.said

    def publication(self, channel, epoch, publication):
        return self.said + publication.payload


@pytest.mark.parametrize(
    ("factory", "law"),
    [
        (BeginsWithoutAWord, "begun.. says nothing"),
        (BeginsInText, "must be bytes, got str"),
        (ShowsTokensInVain, "Refresh of an adapter without KnowsSession"),
        (RefreshesInText, "must be bytes, got str"),
        (SubscribesInText, "must be bytes, got str"),
        (UnsubscribesInText, "must be bytes, got str"),
        (OwnWayOfPublishing, "encode a publication differently"),
    ],
)
def test_each_law_of_channels_and_sessions_has_one_who_breaks_it_caught(factory, law):
    with pytest.raises(Violation, match=law):
        check(factory, KNOWING, random.Random(1))


class Visits(KnowsMore):
    """A line with a dot ends the session, and what comes then begins another."""

    def advance(self):
        events = super().advance()
        ends = any(type(event) is Message and event.payload == b"." for event in events)
        return self.part(events) if ends else events

    def part(self, events):
        self.paused, self.request = False, None
        return [*events[:-1], Closed(), Opened("lines", "/", []), *self.advance()]


VISITS = b"one\n+c\n.\ntwo\n+c\n.\nthree\n"


def test_one_whose_sessions_end_before_its_connection_conforms():
    check(Visits, VISITS, random.Random(1))


class ClosesTwice(Visits):
    def part(self, events):
        return [Closed(), *super().part(events)]


class SpeaksAfterClosed(Visits):
    def part(self, events):
        return [event for event in super().part(events) if type(event) is not Opened]


@pytest.mark.parametrize(
    ("factory", "law"),
    [
        (ClosesTwice, "Closed without a session"),
        (SpeaksAfterClosed, "before Opened"),
    ],
)
def test_each_law_of_a_session_s_end_has_one_who_breaks_it_caught(factory, law):
    with pytest.raises(Violation, match=law):
        check(factory, VISITS, random.Random(1))


@pytest.mark.parametrize("line", [b"+c\n", b"-c\n", b"=c\n", b"?c\n"])
def test_without_a_session_there_is_nothing_to_subscribe_publish_or_refresh(line):
    with pytest.raises(Violation, match=f"a {KINDS[line[:1]].__name__} before Opened"):
        check(SubscribesToNobody, line, random.Random(1))


@pytest.mark.parametrize("kind", [Unsubscribe, Subscribe])
def test_who_has_no_words_for_channels_subscribes_to_none(kind):
    class WithoutWords(Lines):
        def advance(self):
            events = super().advance()
            return [kind("c"), *events] if self.request else events

    with pytest.raises(Violation, match=f"{kind.__name__} of an adapter without KnowsChannels"):
        check(WithoutWords, SCRIPT, random.Random(1))


class LeavesOutClose:
    def __init__(self, *args):
        adapter = Lines(*args)
        for part in (
            "name",
            "wire_format",
            "deadline",
            "paused",
            "receive_data",
            "on_deadline",
            "reply",
            "error",
            "resume",
        ):
            setattr(self, part, getattr(adapter, part))


@pytest.mark.parametrize(
    ("factory", "law"),
    [
        (DependsOnCuts, "events depend on how bytes are cut"),
        (FinishedTwice, "a call after Finished"),
        (EventsAreNoSequence, "a list or tuple"),
        (FinishedIsNotLast, "be the last event"),
        (NeverFinished, "no Finished after"),
        (OutputOfText, "must be bytes, got str"),
        (ReplyOfText, "must be bytes, got str"),
        (EventOfItsOwn, "str is not an event"),
        (IgnoresItsOwnPause, "Message while a request waits"),
        (LosesWhatComesWhilePaused, "events depend on how bytes are cut"),
        (PausedForNothing, "paused while no request waits"),
        (StaysPaused, "still True after the last part"),
        (AnswersTwice, "answered twice"),
        (EndsUntold, "the next part of a reply is refused"),
        (AllSaidAndGoesOn, "still True after the last part"),
        (DeadlineOfNoNumber, "deadline is not a number"),
        (ActsBeforeItsDeadline, "before the deadline gave"),
        (IgnoresItsDeadline, "neither ended the connection nor moved"),
        (OpensTwice, "Opened came twice"),
        (OpensNothing, "a Message before Opened"),
        (OfAKindOfItsOwn, "Asked is not an event"),
        (TextThatIsNone, "valid UTF-8"),
        (SwitchIsNotLast, "Switch must be the last"),
        (OwnWayOfNotifying, "encode a notification differently"),
        (MoreThanAShare, "the share of a call is 64 units"),
        (MoreWithoutPause, "has_more without paused"),
        (MoreAfterTheEnd, "has_more while a request waits"),
        (SilentIsNotLast, "Silent must be the last"),
        (SilentAndNoMore, "the deadline was not moved on"),
        (HoldsAfterTheEnd, "held_bytes is 24 after Finished"),
        (HoldsLessThanNothing, "held_bytes is -1"),
        (CountsBackwards, "eventless is -"),
        (CountsMoreThanAShare, "eventless is 1000 more after a call"),
        (WaitsForTheRest, "said again leaves it waiting"),
        (SaysSoTooEarly, "an Output came before Opened"),
        (NeverSaysSo, "no answer of the handshake follows"),
        (RefusesInText, "must be bytes, got str"),
        (RefusesWithoutAWord, "refuse says nothing"),
        (CantBeRefused, "neither ended the connection nor moved|no Finished after a refusal"),
        (LeavesOutClose, "lacks a part of ClientProtocol"),
    ],
)
def test_each_law_has_one_who_breaks_it_caught(factory, law):
    with pytest.raises(Violation, match=law):
        check(factory, SCRIPT[:-4], random.Random(1))


def test_who_keeps_what_it_does_not_say_is_caught():
    class KeepsInSecret(Lines):
        held_bytes = 0

    script = b"x" * 5000 + b"\n"
    check(Lines, script, random.Random(1), rounds=1)
    with pytest.raises(Violation, match="bytes came without an event, and held_bytes is 0"):
        check(KeepsInSecret, script, random.Random(1), rounds=1)


def test_who_says_that_its_session_stands_conforms():
    check(SaysThatItStands, SCRIPT, random.Random(1))


def test_an_exception_comes_through_as_it_is():
    class Raises(Lines):
        def advance(self):
            return [1 / len(self.buffer), *super().advance()] if self.buffer != b"two\n" else super().advance()

    with pytest.raises(ZeroDivisionError):
        check(Raises, b"two\n", random.Random(1))


def test_a_script_without_a_request_shows_nothing_and_is_refused():
    with pytest.raises(ValueError, match="request"):
        check(HttpProtocol, b"GET", random.Random(1))


def test_http_requests_count_as_requests():
    assert isinstance(next(iter(HttpProtocol(Limits(), "", 0.0).receive_data(REQUESTS, 0.0))), HttpRequest)
    check(HttpProtocol, REQUESTS[:29], random.Random(1), rounds=1)
