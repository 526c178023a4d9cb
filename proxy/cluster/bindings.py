"""Endpoints by the name of an interface: `tcp://[eth0:ipv4]:7510`, `tcp://[_site_:ipv4]:7511`.

So one configuration fits every machine of a cluster. Owns what such a name stands for, asked of the kernel when it is
needed: a name may be an interface, an address, or `_site_`, the first address that other machines may know us by. How
an endpoint is written is proxy.config.values's.
"""

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config.values import split_binding

# <linux/sockios.h>, <linux/if.h>, <linux/if_addr.h>
SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915
IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40  # the address can't be bound, or not yet
INTERFACE = struct.Struct("16s24s")  # struct ifreq: the name, and what is asked
IPV6_ADDRESSES = Path("/proc/net/if_inet6")


class Address(NamedTuple):
    """One address of an interface. is_outward: the interface is up, and not loopback."""

    interface: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    is_outward: bool

    @property
    def is_site(self) -> bool:
        return self.is_outward and not self.ip.is_link_local


def resolve(endpoint: str) -> str:
    """The endpoint with an address in place of [NAME:FAMILY]; one without such a part as it is.

    Raises ConfigError if there is no such address on this machine.
    """
    try:
        binding = split_binding(endpoint)
    except ValueError as error:
        raise ConfigError(f"expected {error}, got {endpoint}") from error
    if binding is None:
        return endpoint
    name, family, port = binding
    return f"tcp://{_host(endpoint, name, family)}:{port}"


def advertised(bound: str, configured: str = "") -> str:
    """What others dial for an endpoint that is bound: what is configured, its port `*` being the one that is bound.

    If nothing is, the endpoint itself, and in place of a wildcard the address that `_site_` stands for; on a machine
    that has no such address, which nobody else can reach either, loopback. Raises ConfigError as `resolve` does.
    """
    if configured:
        address = resolve(configured)
        return address.removesuffix("*") + bound.rpartition(":")[2] if address.endswith(":*") else address
    for wildcard, family, loopback in (("tcp://0.0.0.0:", "ipv4", "127.0.0.1"), ("tcp://[::]:", "ipv6", "[::1]")):
        if bound.startswith(wildcard):
            site = _site(family)
            return f"tcp://{loopback if site is None else _as_host(site)}:{bound.removeprefix(wildcard)}"
    return bound


def _host(endpoint: str, name: str, family: str) -> str:
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        if f"ipv{ip.version}" != family:
            raise ConfigError(f"{endpoint}: {name} is no {family} address")
        return _as_host(ip)
    # Link-local addresses mean something on their own network only, so nobody could be told one.
    found = _site(family) if name == "_site_" else next((a.ip for a in _named(name, family)), None)
    if found is None:
        there = ", ".join(f"{a.interface} {a.ip}" for a in addresses(family)) or "none"
        raise ConfigError(f"{endpoint}: {name} has no {family} address; addresses of this machine: {there}")
    return _as_host(found)


def _named(name: str, family: str) -> Iterator[Address]:
    return (address for address in addresses(family) if address.interface == name and not address.ip.is_link_local)


def _site(family: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    return next((address.ip for address in addresses(family) if address.is_site), None)


def _as_host(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"[{ip}]" if ip.version == 6 else str(ip)


def addresses(family: str) -> list[Address]:
    """Of this machine, or of this network namespace, in the order of its interfaces. family: ipv4 or ipv6."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return list(_ipv4(asking) if family == "ipv4" else _ipv6(asking))


def _ipv4(asking: socket.socket) -> Iterator[Address]:
    for _, name in socket.if_nameindex():
        answer = _ask(asking, SIOCGIFADDR, name)
        if answer is not None:  # struct sockaddr_in: family, port, address
            yield Address(name, ipaddress.IPv4Address(answer[4:8]), _is_outward(asking, name))


def _ipv6(asking: socket.socket) -> Iterator[Address]:
    """Lines of `address index prefix scope flags name`, all but the name in hexadecimal."""
    try:
        lines = IPV6_ADDRESSES.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # the kernel has no IPv6
        return
    for fields in sorted(map(str.split, lines), key=lambda fields: int(fields[1], 16)):
        ip, _, _, _, flags, name = fields
        if not int(flags, 16) & (IFA_F_DADFAILED | IFA_F_TENTATIVE):
            yield Address(name, ipaddress.IPv6Address(bytes.fromhex(ip)), _is_outward(asking, name))


def _is_outward(asking: socket.socket, name: str) -> bool:
    answer = _ask(asking, SIOCGIFFLAGS, name)
    flags = 0 if answer is None else int(struct.unpack_from("H", answer)[0])
    return flags & (IFF_UP | IFF_RUNNING | IFF_LOOPBACK) == IFF_UP | IFF_RUNNING


def _ask(asking: socket.socket, request: int, name: str) -> bytes | None:
    """What struct ifreq has behind the name. None: it has no such thing, or has just gone."""
    try:
        answer = fcntl.ioctl(asking, request, INTERFACE.pack(name.encode(), b""))
    except OSError:
        return None
    return answer[16:]
