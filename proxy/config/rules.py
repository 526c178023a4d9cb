"""What must hold between keys. A rule that is broken names the key to change, and what was expected of it."""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

from msgspec.structs import replace

from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.settings import NodeSettings, StoreSettings
from holdfast.protocols.clients import doors
from holdfast.protocols.nodes.frames import CALLBACKS_TIMEOUT
from holdfast.proxy.config.sections import ClientSettings, Config
from holdfast.proxy.config.values import is_ipv6, is_local_endpoint, is_loopback, split_address

FRAME_OVERHEAD = 64 << 10  # of a batch around one payload: headers of a reply, and room for effects
PROPOSAL_OVERHEAD = 2 << 10  # of a batch around one entry
ENTRY = "entry of the state (state.max_key_bytes + state.max_value_bytes)"
BUFFERED_TIMES = 4  # a body that is inflated in layers is there several times
ALL_HOSTS = frozenset({"*", "0.0.0.0", "::"})
AUTHENTICATION = (
    "a loopback address, or authentication by node.token or node.curve_authorized_keys "
    "(node.insecure_bind_without_authentication = true does without)"
)

_WITHOUT_TOKENS = ClientSettings()


def broken(config: Config) -> Iterator[tuple[str, str]]:
    """(key, what was expected of its value) of each broken rule. Every value is good by itself."""
    yield from _client(config)
    yield from _tokens(config.client)
    yield from _channels(config)
    yield from _node(config)
    yield from _balance(config)
    yield from _admin(config)
    yield from _addresses(config)
    yield from _doors(config)
    if config.store.kind != "memory":
        yield from _store(config.store)
        yield from _cluster(config)
    yield from _history(config)


def _client(config: Config) -> Iterator[tuple[str, str]]:
    client = config.client
    if client.tls_certificate_file and not client.tls_key_file:
        yield "client.tls_key_file", "the key file of client.tls_certificate_file"
    if client.tls_key_file and not client.tls_certificate_file:
        yield "client.tls_certificate_file", "the certificate file of client.tls_key_file"
    # or a request could come in that can never be handed on
    largest = max(client.max_message_bytes, client.max_body_bytes)
    most = max(largest, client.max_unread_reply_bytes)
    if client.max_buffered_bytes < BUFFERED_TIMES * most:
        yield (
            "client.max_buffered_bytes",
            f"at least {BUFFERED_TIMES} times what one client may hold, {most} "
            "(client.max_message_bytes, client.max_body_bytes, client.max_unread_reply_bytes)",
        )


def _tokens(client: ClientSettings) -> Iterator[tuple[str, str]]:
    if not client.jwt_keys:
        for name in ("jwt_algorithms", "jwt_audience", "jwt_issuer", "jwt_from", "jwt_leeway"):
            if getattr(client, name) != getattr(_WITHOUT_TOKENS, name):  # it would look as if tokens were verified
                yield "client.jwt_keys", f"keys, because client.{name} is set"
        return
    from holdfast.proxy.config import jwt_keys  # slow to import, and only needed here

    try:
        jwt_keys.load(client.jwt_keys, client.jwt_algorithms)
    except ValueError as error:
        yield "client.jwt_keys", str(error)
    if "*" in client.origins and any(source.startswith("cookie:") for source in client.jwt_from):
        yield "client.origins", "the origins of your pages: with a cookie in client.jwt_from any page asks as its user"


def _channels(config: Config) -> Iterator[tuple[str, str]]:
    """One line is enough: one key mends all such rules."""
    for number, rule in enumerate(config.channel, start=1):
        if rule.subscribe == "token" and not config.client.jwt_keys:
            yield "client.jwt_keys", f'keys, because channel {number}, "{rule.match:.60}", has subscribe = "token"'
            break


def _node(config: Config) -> Iterator[tuple[str, str]]:
    node = config.node
    if node.curve_authorized_keys and not node.curve_secret_key_file:
        yield "node.curve_secret_key_file", "a key file, because node.curve_authorized_keys is set"
    if not all(map(is_local_endpoint, node.bind)) and not _is_authenticated(node):
        yield "node.bind", AUTHENTICATION
    if node.heartbeat_timeout <= 2 * node.heartbeat_interval:
        yield (
            "node.heartbeat_timeout",
            f"more than twice node.heartbeat_interval ({node.heartbeat_interval:g}): one late heartbeat is no death",
        )
    if config.election.lease <= 2 * node.heartbeat_interval:
        yield (
            "election.lease",
            f"more than twice node.heartbeat_interval ({node.heartbeat_interval:g}): heartbeats renew it",
        )
    largest = max(config.client.max_message_bytes, config.client.max_body_bytes)
    if node.max_frame_bytes < largest + FRAME_OVERHEAD:
        yield "node.max_frame_bytes", f"at least {largest + FRAME_OVERHEAD}, for a node to echo the largest request"
    entry = config.state.max_key_bytes + config.state.max_value_bytes
    if node.max_frame_bytes < entry + PROPOSAL_OVERHEAD:
        yield "node.max_frame_bytes", f"at least {entry + PROPOSAL_OVERHEAD}, for a node to propose the largest {ENTRY}"
    if node.handshake_timeout <= config.state.recover_timeout + CALLBACKS_TIMEOUT:
        yield (
            "node.handshake_timeout",
            f"more than state.recover_timeout ({config.state.recover_timeout:g}) and {CALLBACKS_TIMEOUT:g} s: nodes "
            "wait so long for the state, and for what they do with clients before they are ready",
        )
    if node.max_outbox_bytes <= max(largest, entry):
        yield (
            "node.max_outbox_bytes",
            f"more than the largest request, {largest} (client.max_message_bytes, client.max_body_bytes), and more "
            f"than the largest {ENTRY}, {entry}",
        )
    if config.cluster.minimum_nodes > node.max_nodes:
        yield "cluster.minimum_nodes", f"at most node.max_nodes ({node.max_nodes}): it would never be ready"
    if entry > config.state.max_bytes:
        yield "state.max_bytes", f"at least {entry}: one {ENTRY}"


def _is_authenticated(node: NodeSettings) -> bool:
    """Whether nodes, and other proxies, are known for what they are, or the operator does without."""
    # CURVE without a list of keys encrypts, but lets everybody in who has the proxy's public key
    return bool(node.token or node.curve_authorized_keys) or node.insecure_bind_without_authentication


def _store(store: StoreSettings) -> Iterator[tuple[str, str]]:
    if store.kind == "sqlite" and not store.path:
        yield "store.path", "the file that the proxies of this machine share"
    if store.kind == "redis":
        try:
            parse_urls(store.urls)
        except ValueError as error:
            yield "store.urls", str(error)


def _history(config: Config) -> Iterator[tuple[str, str]]:
    """Proxies that share a store must share their logs, too."""
    store, kind = config.store, config.history.kind
    if kind == store.kind or kind == "store":
        return
    if kind == "memory":
        yield "history.kind", f"store or {store.kind}, because several proxies share no memory"
    elif kind == "sqlite" and store.kind == "redis":
        yield "history.kind", "store or redis, because proxies of several machines share no file"
    else:
        yield from _store(replace(store, kind=kind))


def _cluster(config: Config) -> Iterator[tuple[str, str]]:
    cluster = config.cluster
    if not cluster.pub:
        yield "cluster.pub", "a ZeroMQ endpoint"
    elif not is_local_endpoint(cluster.pub) and not _is_authenticated(config.node):
        yield "cluster.pub", AUTHENTICATION
    if cluster.heartbeat_timeout <= 2 * cluster.heartbeat:
        yield (
            "cluster.heartbeat_timeout",
            f"more than twice cluster.heartbeat ({cluster.heartbeat:g}): one late heartbeat is no death",
        )
    # Half of it is when a majority that misses a member, and has no store, stops granting leases. The other half must
    # be enough for the last of them to run out at every node, also at one whose clock is slow.
    least = 4 * (cluster.heartbeat_timeout + 1.2 * config.election.lease)
    if 0 < cluster.takeover_timeout < least:
        yield (
            "cluster.takeover_timeout",
            f"0, or at least {least:g}: 4 x (cluster.heartbeat_timeout + 1.2 x election.lease)",
        )
    if config.node.curve_authorized_keys and not _knows_itself(config.node):
        yield (
            "node.curve_authorized_keys",
            "the public key of node.curve_secret_key_file among them, because the other proxies use the same pair",
        )


def _knows_itself(node: NodeSettings) -> bool:
    """Whether the proxies' public key is among the authorized ones. True if it can't be read: the link says so."""
    import zmq.auth  # slow to import, and only needed here

    try:
        public, _ = zmq.auth.load_certificate(node.curve_secret_key_file)
        return public in zmq.auth.load_certificates(node.curve_authorized_keys)
    except (OSError, ValueError):
        return True


def _balance(config: Config) -> Iterator[tuple[str, str]]:
    balance = config.balance
    kind, colon, name = balance.sticky_key.partition(":")
    if not (balance.sticky_key == "client" or (kind in ("header", "field") and colon and name)):
        yield "balance.sticky_key", '"client", "header:NAME" or "field:NAME"'
    if balance.ejection_time_max < balance.ejection_time:
        yield "balance.ejection_time_max", f"at least balance.ejection_time ({balance.ejection_time:g})"


def _admin(config: Config) -> Iterator[tuple[str, str]]:
    admin = config.admin
    if not is_loopback(split_address(admin.bind)[0]) and not (admin.token or admin.tokens):
        yield "admin.bind", "a loopback address, or admin.token or admin.tokens to be set"
    if not all("!" <= character <= "~" for character in admin.token):
        yield "admin.token", "printable ASCII without spaces, as a header can carry it"


def _doors(config: Config) -> Iterator[tuple[str, str]]:
    known = sorted(doors.registered())
    paths: set[str] = set()
    for spec in config.client.doors:
        name, _, path = spec.partition(":")
        if name not in known:
            yield "client.doors", f"one of the registered protocols of doors ({', '.join(known)})"
        elif path in paths:
            yield "client.doors", f"one protocol for {path}"
        paths.add(path)


def _addresses(config: Config) -> Iterator[tuple[str, str]]:
    """Each port of an address is bound once. A name is looked up no sooner than that, so it is only its own equal."""
    bound = [("client.bind", address) for address in config.client.bind]
    bound += (("client.protocols", spec.partition("://")[2]) for spec in config.client.protocols)
    bound += (("node.bind", endpoint.removeprefix("tcp://")) for endpoint in config.node.bind)
    bound.append(("admin.bind", config.admin.bind))
    if config.store.kind != "memory":
        bound.append(("cluster.pub", config.cluster.pub.removeprefix("tcp://")))
    for number, (key, address) in enumerate(bound):
        for other_key, other in bound[:number]:
            if _is_same(address, other):
                yield key, f"another address than that of {other_key} ({other})"
                break


def _is_same(one: str, other: str) -> bool:
    """Whether what is bound to one of these leaves no room for the other: HOST:PORT, or ipc://PATH."""
    if one.startswith("ipc://") or other.startswith("ipc://"):
        return one == other != "ipc://*"  # each of which is a path of its own
    (host, port), (other_host, other_port) = _host_and_port(one), _host_and_port(other)
    if port != other_port or not port:
        return False
    if host == other_host:
        return True
    is_all = not {host, other_host}.isdisjoint(ALL_HOSTS)
    return is_all and is_ipv6(host) == is_ipv6(other_host)


def _host_and_port(address: str) -> tuple[str, str]:
    """However they are written. Port "": any that is free."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with suppress(ValueError):  # it is a name
        host = ip_address(host).compressed
    return host, port.lstrip("*0")
