"""Events as they are written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.sse import text
from holdfast.protocols.errors import ProtocolError
from holdfast.protocols.positions import Publication


def heard(stream):
    """As a browser hears it (HTML, section 9.2.6): the data of its messages, and the last id."""
    data, id, messages = [], "", []
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if data:
                messages.append("\n".join(data))
            data = []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            id = value
    return messages, id


@given(st.text())
def test_a_message_comes_as_it_was_but_for_the_ends_of_its_lines(payload):
    said = text.event(text.bare(Publication(payload.encode(), True)), id="i")
    assert heard(said) == ([payload.replace("\r\n", "\n").replace("\r", "\n")], "i")


@given(st.lists(st.text(), max_size=5))
def test_no_message_can_end_its_event_or_say_another_field(payloads):
    said = b"".join(text.event(text.bare(Publication(each.encode(), True)), id="own") for each in payloads)
    messages, id = heard(said + text.event(b"last"))
    assert len(messages) == len(payloads) + 1
    assert id == ("own" if payloads else "")


def test_an_event_without_data_sets_the_id_and_is_no_message():
    assert heard(text.event(None, id="here")) == ([], "here")


def test_bytes_come_in_base64():
    assert text.bare(Publication(b"\x00\xff", False)) == b"AP8="
    assert json.loads(text.enveloped("c", Publication(b"\x00\xff", False))) == {"channel": "c", "data": "AP8="}


def test_text_that_is_no_utf8_is_refused():
    with pytest.raises(ProtocolError, match="is not valid UTF-8"):
        text.bare(Publication(b"\xff", True))


def test_an_envelope_is_one_line_with_all_there_is_to_know():
    said = text.enveloped('a"\n', Publication(b'{"x":\n1}', True, 7, b'{"user":"u"}'))
    assert b"\n" not in said
    assert json.loads(said) == {"channel": 'a"\n', "data": {"x": 1}, "offset": 7, "sender": {"user": "u"}}
    assert json.loads(text.enveloped("", Publication(b"no json", True))) == {"data": "no json"}


def test_the_time_to_wait_is_in_milliseconds():
    assert text.retry(2.5) == b"retry: 2500\n\n"
