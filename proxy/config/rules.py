"""What must hold between keys. A rule that is broken names the key to change, and what was expected of it."""

from collections.abc import Iterator

from proxy.config.sections import Config
from proxy.config.values import is_local_endpoint, is_loopback, split_address

FRAME_OVERHEAD = 64 << 10  # of a batch around one payload: headers of a reply, and room for effects


def broken(config: Config) -> Iterator[tuple[str, str]]:
    """(key, what was expected of its value) of each broken rule. Every value is good by itself."""
    yield from _client(config)
    yield from _node(config)
    yield from _balance(config)
    yield from _admin(config)


def _client(config: Config) -> Iterator[tuple[str, str]]:
    client = config.client
    if client.tls_certificate_file and not client.tls_key_file:
        yield "client.tls_key_file", "the key file of client.tls_certificate_file"
    if client.tls_key_file and not client.tls_certificate_file:
        yield "client.tls_certificate_file", "the certificate file of client.tls_key_file"
    # or a request could come in that can never be handed on
    largest = max(client.max_message_bytes, client.max_body_bytes)
    if config.node.max_outbox_bytes <= largest:
        yield (
            "node.max_outbox_bytes",
            f"more than the largest request, {largest} (client.max_message_bytes, client.max_body_bytes)",
        )


def _node(config: Config) -> Iterator[tuple[str, str]]:
    node = config.node
    if node.curve_authorized_keys and not node.curve_secret_key_file:
        yield "node.curve_secret_key_file", "a key file, because node.curve_authorized_keys is set"
    # CURVE without a list of keys encrypts, but lets everybody in who has the proxy's public key
    authenticated = bool(node.token or node.curve_authorized_keys)
    exposed = [endpoint for endpoint in node.bind if not is_local_endpoint(endpoint)]
    if exposed and not authenticated and not node.insecure_bind_without_authentication:
        yield (
            "node.bind",
            "a loopback address, or authentication by node.token or node.curve_authorized_keys "
            "(node.insecure_bind_without_authentication = true does without)",
        )
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
    if config.state.max_value_bytes >= node.max_frame_bytes:
        yield "state.max_value_bytes", f"less than node.max_frame_bytes ({node.max_frame_bytes}), or none could come"
    if config.state.max_value_bytes + config.state.max_key_bytes > config.state.max_bytes:
        yield (
            "state.max_bytes",
            f"at least one entry, {config.state.max_value_bytes + config.state.max_key_bytes} "
            "(state.max_key_bytes + state.max_value_bytes)",
        )


def _balance(config: Config) -> Iterator[tuple[str, str]]:
    balance = config.balance
    kind, colon, name = balance.sticky_key.partition(":")
    if not (balance.sticky_key == "client" or (kind in ("header", "field") and colon and name)):
        yield "balance.sticky_key", '"client", "header:NAME" or "field:NAME"'
    if balance.ejection_time_max < balance.ejection_time:
        yield "balance.ejection_time_max", f"at least balance.ejection_time ({balance.ejection_time:g})"


def _admin(config: Config) -> Iterator[tuple[str, str]]:
    admin = config.admin
    if not is_loopback(split_address(admin.bind)[0]) and not admin.token:
        yield "admin.bind", "a loopback address, or admin.token to be set"
    if not all("!" <= character <= "~" for character in admin.token):
        yield "admin.token", "printable ASCII without spaces, as a header can carry it"
