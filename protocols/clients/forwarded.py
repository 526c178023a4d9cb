"""Who a client is when other proxies stand in between: X-Forwarded-For, believed from trusted peers only.

Owns the networks of `trusted_peers` and the walk along the header. Refuses to guess: an entry that is no address ends
the walk, and the last hop known for sure counts.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from holdfast.protocols.errors import ConfigError

# Claims about the client that only a proxy can make: its address, and who it has proven to be. So are all whose names
# begin with one of the prefixes. Nodes get them from trusted peers alone.
CLAIMS = frozenset(
    {
        "cf-connecting-ip",
        "client-cert",  # RFC 9440
        "client-cert-chain",
        "fastly-client-ip",
        "forwarded",
        "true-client-ip",
        "x-client-cert",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-real-ip",
    }
)
CLAIM_PREFIXES = ("x-forwarded-", "x-auth-request-", "x-ssl-client-")


def is_claim(name: str) -> bool:
    """Whether a header of this name, in lower case, is one of them."""
    return name in CLAIMS or name.startswith(CLAIM_PREFIXES)


@lru_cache(maxsize=8)
def networks(trusted_peers: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks of a configuration, parsed once. Raises ConfigError."""
    try:
        return tuple(map(network, trusted_peers))
    except ValueError as error:
        raise ConfigError(f"trusted_peers: expected networks or addresses: {error}") from error


def network(text: str) -> IPv4Network | IPv6Network:
    """ "10.0.0.0/8", also as an address within it has it, or an address alone. Raises ValueError.

    One of IPv4 in IPv6 is IPv4, as addresses are here.
    """
    parsed = ip_network(text, strict=False)
    if isinstance(parsed, IPv6Network) and parsed.prefixlen >= 96:
        mapped = parsed.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, parsed.prefixlen - 96))
    return parsed


def is_trusted_peer(address: str, trusted_peers: tuple[str, ...]) -> bool:
    """Whether the socket's peer, "ip:port", may say who the client is."""
    if not trusted_peers:
        return False
    ip = _parse(address.rpartition(":")[0])
    return ip is not None and _is_trusted(ip, networks(trusted_peers))


def client_address(header: str, trusted_peers: tuple[str, ...]) -> str | None:
    """The client's address by a trusted peer's X-Forwarded-For: the right-most that is not trusted itself.

    header: several are joined by commas, and "" is none; empty ones don't count (RFC 9110 section 5.6.1). If all are
    trusted, the left-most: a client inside. None if there is no entry, or the peer's own one is no address.
    """
    trusted = networks(trusted_peers)
    found = None
    for entry in reversed(header.split(",")):
        if not entry.strip(" \t"):
            continue
        ip = _parse(entry)
        if ip is None:
            break
        found = str(ip)
        if not _is_trusted(ip, trusted):
            break
    return found


def _is_trusted(ip: IPv4Address | IPv6Address, trusted: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(ip in network for network in trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address, in brackets or with a port as some proxies write it. IPv4 in IPv6 is IPv4 (dual-stack sockets)."""
    text = text.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
