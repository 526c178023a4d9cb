"""Commands: what of a line is taken, what is refused, and in what time."""

import json

import pytest

from holdfast.protocols.clients.centrifuge.commands import MAX_ID, Connect, Ping, Rpc, Subscribe, decode
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError


def test_a_whole_connect():
    line = b'{"id":1,"connect":{"token":"t","data":{"a": [1, "\xc3\xbc"]},"name":"js","version":"2"}}'
    command = decode(line)
    assert command.id == 1
    assert isinstance(command.request, Connect)
    assert (command.request.token, command.request.name, command.request.version) == ("t", "js", "2")
    assert bytes(command.request.data) == b'{"a": [1, "\xc3\xbc"]}'  # byte by byte: nothing of it is read


def test_what_is_not_given_is_empty_and_what_nobody_knows_is_passed_over():
    command = decode(
        b'{"id":7,"subscribe":{"channel":"c","flag":1,"tf":{"op":"and","nodes":[]},"delta":"fossil"},"x":{}}'
    )
    assert command.request == Subscribe(channel="c")
    assert not bytes(command.request.data)


def test_null_is_data_and_as_a_request_it_is_none():
    assert bytes(decode(b'{"id":1,"rpc":{"data":null}}').rpc.data) == b"null"
    assert decode(b'{"id":1,"rpc":null,"ping":{}}').request == Ping()


def test_of_several_requests_the_first_of_the_description_counts():
    assert isinstance(decode(b'{"id":1,"rpc":{"method":"m"},"connect":{"token":"t"}}').request, Connect)


def test_a_pong_has_neither_id_nor_request():
    command = decode(b" {} \r")
    assert command.id == 0
    assert command.request is None


@pytest.mark.parametrize("id", [0, 1, MAX_ID])
def test_ids_are_those_of_a_uint32(id):
    assert decode(b'{"id":%d}' % id).id == id


def test_of_a_name_that_comes_twice_the_last_counts():
    assert decode(b'{"id":1,"id":2,"rpc":{"method":"a"},"rpc":{"method":"b"}}').request == Rpc(method="b")
    assert decode(b'{"id":1,"id":2}').id == 2


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b"null",
        b"1",
        b'{"id":1}{"id":2}',
        b'{"id":1',
        b'{"id":-1}',
        b'{"id":4294967296}',
        b'{"id":1.5}',
        b'{"id":"1"}',
        b'{"id":true}',
        b'{"id":null}',
        b'{"id":1e400}',
        b'{"id":1,"rpc":{"data":01}}',
        b'{"id":1,"rpc":{"data":[1,]}}',
        b'{"id":1,"rpc":{"data":NaN}}',
        b'{"id":1,"rpc":{"data":NaN,"x":"\\ud83d"}}',
        b'{"id":1,"rpc":[]}',
        b'{"id":1,"rpc":{"method":1}}',
        b'{"id":1,"subscribe":{"channel":null}}',
        b'{"id":1,"subscribe":{"channel":"\\ud800"}}',
        b'{"id":1,"subscribe":{"channel":"c","recover":1}}',
        b'{"id":1,"subscribe":{"channel":"c","offset":-1}}',
        b'{"id":1,"subscribe":{"channel":"c","offset":9223372036854775808}}',
        b'{"id":1,"subscribe":{"channel":"c","epoch":5}}',
        b'["\\ud800"]',
        b'{"id":1,"rpc":"\\ud800"}',
        pytest.param(b'{"id":1,"rpc":{"data":' + DEEP + b"}}", id="deep"),
        pytest.param(b'{"id":1,"x":' + DEEP + b"}", id="deep, where nobody looks"),
        pytest.param(b'{"id":1,"rpc":{"data":["\\ud800",' + DEEP[:60_000] + b"}}", id="deep, with half a character"),
        pytest.param(b'{"id":' + b"9" * 5000 + b"}", id="an id of 5000 digits"),
    ],
)
def test_what_is_no_command_is_a_bad_request(line):
    with pytest.raises(ProtocolError, match="expected a command in JSON") as raised:
        decode(line)
    assert raised.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize("text", ["\ud83d", "a\udc00b", "\ud83dé"])
def test_half_a_surrogate_pair_in_data_is_passed_on(text):
    """JSON.stringify of a string that was cut writes one; it is JSON."""
    line = json.dumps({"id": 3, "publish": {"channel": "é", "data": {"text": text, "n": 1.5}}}).encode()
    command = decode(line)
    assert (command.id, command.publish.channel) == (3, "é")
    assert json.loads(bytes(command.publish.data)) == {"text": text, "n": 1.5}


def test_beside_half_a_surrogate_pair_the_rest_is_checked_as_always():
    with pytest.raises(ProtocolError):
        decode(b'{"id":"3","publish":{"channel":"c","data":"\\ud83d"}}')
