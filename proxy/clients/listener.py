"""Accepting clients: one Trio task per bound address, sockets straight into the reactor.

Owns listening sockets and the answer to whom we can't take: an HTTP 503 or 429 before anything is read, on the ports
where every client begins with HTTP; on the port of another protocol the connection is just closed.
"""

import os
import socket
from ssl import SSLContext

import trio

from holdfast.protocols.clients.base import registered
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.http_reply import error_bytes
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ConfigError, RequestError
from holdfast.proxy.clients.clients import Clients, FirstProtocol
from holdfast.proxy.clients.tls import TlsChannel
from holdfast.proxy.config import split_address
from holdfast.proxy.open_files import PAUSE, Shortage

# Accepted per wake-up; then others run. It costs some 20 us each, and the reactor as much for the handshakes of so many
# (reactor.NEWCOMERS_PER_TURN): in a storm the others have their turn every 3 ms.
ACCEPTS_PER_TURN = 64
# How long a client waits at another worker's socket before it is taken from there. Who is well accepts within a few ms.
OTHERS_PATIENCE = 0.05


def bind(address: str, *, reuse_port: bool, send_buffer_bytes: int) -> socket.socket:
    """A socket on "host:port" or "[host]:port", for `Listener`. Raises OSError that names the address.

    It does not listen yet, so that the kernel sends nobody here who would have to wait: see Listener.listen.

    send_buffer_bytes: of each accepted socket, in the kernel; 0 leaves it to the kernel, which grows it to megabytes.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if send_buffer_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)  # accepted sockets inherit it
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"can't bind {address}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def port_of_protocol(spec: str) -> tuple[str, FirstProtocol]:
    """Address and adapter of an entry of client.protocols."""
    name, _, address = spec.partition("://")
    protocols = registered()
    if name not in protocols:
        known = ", ".join(sorted(protocols))
        raise ConfigError(f'client.protocols: no client protocol is registered as "{name}"; there are {known}')
    return address, protocols[name]


def format_address(name: tuple[str, int]) -> str:
    """ "host:port", or "[host]:port" for IPv6."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """One bound socket, and from `listen` on who comes there.

    is_anothers: it is that of another worker, who may have gone, be stopped or not have begun: it has the first go.
    """

    def __init__(
        self,
        listening: socket.socket,
        clients: Clients,
        tls: SSLContext | None,
        first_protocol: FirstProtocol | None = None,
        *,
        is_anothers: bool = False,
    ) -> None:
        self._listening = listening
        self._is_anothers = is_anothers
        self._first_protocol = first_protocol
        self._is_http = first_protocol in (None, HttpProtocol)
        self._clients = clients
        self._tls = tls
        self._backlog = 0
        self._shortage = Shortage()
        self.address = format_address(listening.getsockname())

    def listen(self, backlog: int) -> None:
        """From now on clients may come. Raises OSError if somebody else listens at this address meanwhile."""
        self._backlog = backlog
        try:
            self._listening.listen(backlog)
        except OSError as error:
            raise OSError(error.errno, f"can't listen on {self.address}: {error.strerror}") from error

    def close(self) -> None:
        self._listening.close()

    async def run(self) -> None:
        """Task: accept until cancelled. Closes the listening socket, which resets whoever waits there: nobody."""
        with self._listening:
            try:
                while True:
                    await trio.lowlevel.wait_readable(self._listening)
                    if self._is_anothers:
                        await trio.sleep(OTHERS_PATIENCE)
                    if not self._accept(ACCEPTS_PER_TURN):
                        await trio.sleep(PAUSE)
            finally:
                if not self._is_anothers:
                    self._accept(self._backlog)

    def _accept(self, most: int) -> bool:
        """Take whoever is there. False: something has run out."""
        for _ in range(most):
            try:
                accepted, name = self._listening.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if self._shortage.is_met(error, self.address):
                    return False
                continue  # this one went before we took it (ECONNABORTED and the like)
            self._take(accepted, name)
        self._clients.reactor.settle()
        return True

    def _take(self, accepted: socket.socket, name: tuple[str, int]) -> None:
        reason = self._clients.refusal(name[0])
        accepted.setblocking(False)
        if reason is not None:
            self._refuse(accepted, reason)
            return
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # already gone
            accepted.close()
            return
        tls = None if self._tls is None else TlsChannel(self._tls, is_http=self._is_http)
        self._clients.add(accepted.detach(), format_address(name), tls, self._first_protocol)

    def _refuse(self, accepted: socket.socket, reason: Reason) -> None:
        self._clients.counters.connections_refused[reason] += 1
        if reason is not Reason.FENCED:
            key = "client.max_connections" + ("_per_address" if reason is Reason.TOO_MANY_FROM_ADDRESS else "")
            self._clients.counters.limits_hit[key] += 1
        with accepted:
            if self._tls is None and self._is_http:
                try:
                    os.write(accepted.fileno(), _REFUSALS[reason])
                    accepted.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # it is not to be had, and that is all there was to say


_MESSAGES = {
    Reason.TOO_MANY_CONNECTIONS: "Too many connections",
    Reason.TOO_MANY_FROM_ADDRESS: "Too many connections from this address",
    Reason.FENCED: "Cut off from the other proxies",
}
_REFUSALS = {reason: error_bytes(RequestError(message, reason, 1.0)) for reason, message in _MESSAGES.items()}
