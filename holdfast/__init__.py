"""What a node's author imports: Node, Request, Reply and what belongs to them.

names        looking up the names of proxies, for nodes and proxies
complaints   which failures that come again and again are told
masses       how many lines the log has of what others can cause at will, for nodes and proxies
asyncio/    nodes whose functions are asyncio's
node/       the inside of the library; testing: a handler alone, or a whole proxy and its nodes, within a test
publisher/  for those who are neither node nor client
kuzzle/     for applications that speak Kuzzle's API
cli/        the command line
dev/        the inside of `holdfast dev`
console/    what our programs say to a terminal, and ask of a running proxy
chaos/      the program that harms and counts: demo, chaos, bench
proxy/      the running server; balancer/: the decisions about nodes; protocols/: every wire format

Names are looked up when somebody asks for them, so that who needs only a part (each of our processes) loads no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.node.admission import Refused, Session
    from holdfast.node.asking import Answer
    from holdfast.node.errors import (
        LifespanError,
        LinkRefused,
        RequestError,
        StateConflict,
        StateError,
        StateRefused,
    )
    from holdfast.node.fields import Fields, File, Form
    from holdfast.node.functions import CallNext
    from holdfast.node.history import History, Kept
    from holdfast.node.logs import log_context
    from holdfast.node.node import Node
    from holdfast.node.pump import Curve
    from holdfast.node.request import NO_REPLY, Client, Headers, HttpInfo, NoReply, Question, Reply, Request
    from holdfast.node.runner import run
    from holdfast.node.state import Entry, State
    from holdfast.node.statistics import Statistics
    from holdfast.node.subscribing import PublishRequest, SubscribeRequest, Subscription
    from holdfast.protocols.errors import ConfigError, HoldfastError, StaleError
    from holdfast.protocols.positions import Position
    from holdfast.publisher.awaited import AsyncPublisher
    from holdfast.publisher.requests import PublishError
    from holdfast.publisher.threads import Publisher

_MODULES = {
    "holdfast.node.admission": ("Refused", "Session"),
    "holdfast.node.asking": ("Answer",),
    "holdfast.node.errors": (
        "LifespanError",
        "LinkRefused",
        "RequestError",
        "StateConflict",
        "StateError",
        "StateRefused",
    ),
    "holdfast.node.fields": ("Fields", "File", "Form"),
    "holdfast.node.functions": ("CallNext",),
    "holdfast.node.history": ("History", "Kept"),
    "holdfast.node.logs": ("log_context",),
    "holdfast.node.node": ("Node",),
    "holdfast.node.pump": ("Curve",),
    "holdfast.node.request": ("NO_REPLY", "Client", "Headers", "HttpInfo", "NoReply", "Question", "Reply", "Request"),
    "holdfast.node.runner": ("run",),
    "holdfast.node.state": ("Entry", "State"),
    "holdfast.node.statistics": ("Statistics",),
    "holdfast.node.subscribing": ("PublishRequest", "SubscribeRequest", "Subscription"),
    "holdfast.publisher.awaited": ("AsyncPublisher",),
    "holdfast.publisher.requests": ("PublishError",),
    "holdfast.publisher.threads": ("Publisher",),
    "holdfast.protocols.errors": ("ConfigError", "HoldfastError", "StaleError"),
    "holdfast.protocols.positions": ("Position",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "NO_REPLY",
    "Answer",
    "AsyncPublisher",
    "CallNext",
    "Client",
    "ConfigError",
    "Curve",
    "Entry",
    "Fields",
    "File",
    "Form",
    "Headers",
    "History",
    "HoldfastError",
    "HttpInfo",
    "Kept",
    "LifespanError",
    "LinkRefused",
    "NoReply",
    "Node",
    "Position",
    "PublishError",
    "PublishRequest",
    "Publisher",
    "Question",
    "Refused",
    "Reply",
    "Request",
    "RequestError",
    "Session",
    "StaleError",
    "State",
    "StateConflict",
    "StateError",
    "StateRefused",
    "Statistics",
    "SubscribeRequest",
    "Subscription",
    "log_context",
    "run",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
