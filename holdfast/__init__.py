"""What a node's author imports: Node, Request, Reply and what belongs to them.

A request's way:
links         the links to all proxies; which addresses to keep trying
session       one session with one proxy: the order of its frames, heartbeats, the table of who is told what
pump          its socket: batches out and in
dispatch      requests at this node, their cancellation, the guard of handlers
workers       the tasks in which handlers run
exchange      one request: its effects and its reply
effects       what a node does to clients and channels, and which way it goes

Beside it:
clients       every client of every proxy; callbacks: the calling of on_open, on_close and on_state
mastership    the epoch, the lease, the running of on_master
state         the shared state as authors see it; replica: how it follows the proxies and is put in order
node          Node, which puts these together; runner: `holdfast node`
testing       a whole proxy and its nodes within an author's test
kuzzle        for applications that speak Kuzzle's API
"""

from holdfast.errors import LinkRefused, RequestError, StateError
from holdfast.node import Node, Statistics
from holdfast.pump import Curve
from holdfast.request import Client, Headers, HttpInfo, Reply, Request
from holdfast.state import State
from protocols.errors import ConfigError, HoldfastError, StaleError

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
    "StateError",
    "Statistics",
]
