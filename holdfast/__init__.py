"""What a node's author imports: Node, Request, Reply and what belongs to them.

names        looking up the names of proxies, for nodes and proxies
complaints   which failures that come again and again are told
masses       how many lines the log has of what others can cause at will, for nodes and proxies
asyncio/    nodes whose functions are asyncio's
node/       the inside of the library; testing: a whole proxy and its nodes within an author's test
kuzzle/     for applications that speak Kuzzle's API
cli/        the command line
chaos/      the program that harms and counts: demo, chaos, bench
proxy/      the running server; balancer/: the decisions about nodes; protocols/: every wire format

Names are looked up when somebody asks for them, so that who needs only a part (each of our processes) loads no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.node.errors import LinkRefused, RequestError, StateConflict, StateError, StateRefused
    from holdfast.node.node import Node, Statistics
    from holdfast.node.pump import Curve
    from holdfast.node.request import Client, Headers, HttpInfo, Reply, Request
    from holdfast.node.state import State
    from holdfast.protocols.errors import ConfigError, HoldfastError, StaleError

_MODULES = {
    "holdfast.node.errors": ("LinkRefused", "RequestError", "StateConflict", "StateError", "StateRefused"),
    "holdfast.node.node": ("Node", "Statistics"),
    "holdfast.node.pump": ("Curve",),
    "holdfast.node.request": ("Client", "Headers", "HttpInfo", "Reply", "Request"),
    "holdfast.node.state": ("State",),
    "holdfast.protocols.errors": ("ConfigError", "HoldfastError", "StaleError"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Client",
    "ConfigError",
    "Curve",
    "Headers",
    "HoldfastError",
    "HttpInfo",
    "LinkRefused",
    "Node",
    "Reply",
    "Request",
    "RequestError",
    "StaleError",
    "State",
    "StateConflict",
    "StateError",
    "StateRefused",
    "Statistics",
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
