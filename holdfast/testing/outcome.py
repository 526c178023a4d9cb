"""What came of what a node was asked, from the frames that it said."""

from collections.abc import Mapping
from typing import Any

from holdfast.node.errors import RequestError, told
from holdfast.node.request import Headers
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.http_reply import ReplyWriter
from holdfast.protocols.errors import ProtocolError
from holdfast.protocols.nodes import frames
from holdfast.testing.effects import said
from holdfast.testing.results import Failure, Result
from holdfast.testing.standin import Asked


def result_of(asked: Asked, failure: Failure | None, state: Mapping[str, Any]) -> Result:
    """What came of it. failure: in place of what the node has said."""
    messages: list[str | bytes] = []
    status, headers = 200, Headers()
    for number, frame in enumerate(asked.frames):
        match frame:
            case frames.Failure():
                failure = Failure(frame.status, frame.message, frame.code)
            case frames.Reply():
                if frame.payload is not None:
                    messages.append(said(frame.payload, frame.is_text))
            case frames.HttpReply():
                error = asked.error
                if number == 0:
                    status, headers = frame.status, Headers(frame.headers)
                    try:  # as the proxy
                        ReplyWriter(False, False, True).write(ReplyHead(status, frame.headers), b"", False, False)
                    except ProtocolError as wrong:  # what it did is done
                        failure, headers = Failure(wrong.http_status, str(wrong)), Headers()
                        break
                if isinstance(error, RequestError):  # a reply says it, since a failure has no headers
                    _, message, pairs, code = told(error)
                    failure = Failure(frame.status, message, code, Headers(pairs))
                elif frame.payload:
                    messages.append(frame.payload)
    if failure is not None:
        status = failure.status
    return Result(messages, status, headers, failure, asked.effects, state)
