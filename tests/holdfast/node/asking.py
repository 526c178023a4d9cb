"""Requests to a node that does not run: what its functions return, and what they raise."""

from collections.abc import Awaitable

from holdfast import Client, Headers, HttpInfo, Request


def a_client(path="/", protocol="websocket"):
    return Client(7, protocol, "192.0.2.7:5", path, Headers())


async def ask(node, payload=b"", path="/", method=None):
    """A message of a client at `path`, or with a method an HTTP request."""
    http = None if method is None else HttpInfo(method, path, Headers())
    client = a_client(path, "websocket" if http is None else "http")
    result = node._handler()(Request(payload, http is None, client, http))
    return await result if isinstance(result, Awaitable) else result
