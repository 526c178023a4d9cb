"""What each key of the configuration means: its kind, its range, its meaning. One row per key, no key without.

The checks (proxy.config.values), the masking of secrets and docs/reference/configuration.md all read this table.
"""

from enum import Enum
from typing import NamedTuple

from holdfast.protocols.nodes.frames import MAX_BATCH_BYTES
from holdfast.protocols.nodes.state import MAX_BYTES, MAX_KEY_BYTES, MAX_KEYS

# Above this the C libraries underneath overflow, and no honest value lies there.
LARGEST = 10**15
# A request's head goes to the node with its body: twice, with what is around each header, in UTF-8
# (protocols.nodes.frames.MAX_BATCH_BYTES_TO_NODE).
MAX_HEAD_BYTES = 1 << 20
JWT_ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")


class Kind(Enum):
    """What a value is. Its word is the unit on the reference page."""

    COUNT = ""
    BYTES = "bytes"
    SECONDS = "seconds"
    PER_SECOND = "per second"
    SHARE = "share"
    FLAG = "true or false"
    CHOICE = "a choice"
    TEXT = "text"
    SECRET = "secret"
    SCOPED = "SCOPE:SECRET"
    FILE = "file"
    FOLDER = "folder"
    ADDRESS = "HOST:PORT"
    PROTOCOL = "NAME://HOST:PORT"
    DOOR = "NAME:/PATH"
    ENDPOINT = "ZeroMQ endpoint"
    NETWORK = "network"
    ORIGIN = "origin"
    TOKEN = "token"
    ALGORITHM = "algorithm"
    SOURCE = "header, cookie:NAME or query:NAME"
    URL = "URL"


class Key(NamedTuple):
    """zero: what 0 means, where 0 is allowed; a number must otherwise be above it, and within at_least and at_most."""

    kind: Kind
    meaning: str
    zero: str = ""
    at_least: float = 0
    at_most: float = LARGEST


KEYS: dict[str, Key] = {
    # --- client: listening
    "client.bind": Key(Kind.ADDRESS, "Where clients connect; port 0 takes a free one."),
    "client.protocols": Key(
        Kind.PROTOCOL,
        "Further ports, each for one registered client protocol; the ports of bind speak HTTP and WebSocket.",
    ),
    "client.doors": Key(
        Kind.DOOR,
        "Paths at which another protocol is spoken, as centrifuge:/connection/websocket or sse:/events. One that ends"
        " with a part in braces, as sse:/events/{channel}, is for whatever stands there.",
    ),
    "client.tls_certificate_file": Key(Kind.FILE, "PEM certificate chain; turns TLS on, together with the key."),
    "client.tls_key_file": Key(Kind.FILE, "PEM private key of the certificate."),
    "client.backlog": Key(Kind.COUNT, "Connections that the kernel holds before they are accepted.", at_most=65535),
    "client.reuse_port": Key(Kind.FLAG, "SO_REUSEPORT: several processes share the port."),
    "client.send_buffer_bytes": Key(
        Kind.BYTES,
        "The kernel's buffer of a client's socket, which a client that does not read fills first.",
        zero="as the kernel sees fit",
        at_most=1 << 30,  # the kernel doubles it, in 32 bits
    ),
    # --- client: limits of the proxy
    "client.max_buffered_bytes": Key(
        Kind.BYTES,
        "Of all clients in this process: unfinished bodies and messages, requests without a reply, unread replies.",
    ),
    "client.max_connections": Key(
        Kind.COUNT,
        "Client connections at once.",
        at_most=10**7,  # the table of descriptors is made that large at once
    ),
    "client.max_connections_per_address": Key(
        Kind.COUNT,
        "Client connections at once from one address. Behind another balancer all clients have its address.",
        zero="no limit",
    ),
    "client.max_message_rate": Key(
        Kind.PER_SECOND, "Messages of one connection; one second's worth may come at once.", zero="no limit"
    ),
    "client.max_in_flight": Key(Kind.COUNT, "Unanswered requests of one connection; above it is not read."),
    "client.ordered": Key(
        Kind.FLAG,
        "Whether messages of one connection are handled one after the other: no node gets one before the former one's "
        "reply. It is read on meanwhile, up to max_in_flight.",
    ),
    "client.max_outbox_bytes": Key(
        Kind.BYTES, "Waiting for a client that does not read; a notification on top of that disconnects it."
    ),
    "client.max_unread_reply_bytes": Key(
        Kind.BYTES, "Replies that a client has asked for and does not read; above it is disconnected."
    ),
    "client.max_channels": Key(Kind.COUNT, "Channels that one connection is in."),
    "client.admission": Key(
        Kind.CHOICE,
        "Whether a node says who may open a session: `auto`, when nodes have a function for it; `required`, always, so"
        " that nobody is let in before the first of them has come.",
    ),
    # --- client: tokens
    "client.jwt_keys": Key(
        Kind.SECRET,
        "By which clients' tokens (JWT) are verified: a secret of 32 bytes or more, or the path of a file in PEM "
        "(public keys, certificates) or JWKS, which is read anew when it changes. Empty: clients need no token.",
    ),
    "client.jwt_algorithms": Key(
        Kind.ALGORITHM,
        "Algorithms that may be used, of HS256, RS256, ES256 and EdDSA; empty: those of the keys' kinds.",
    ),
    "client.jwt_audience": Key(
        Kind.TEXT, "One of these a token must be for (`aud`). Empty: a token that is for somebody is refused."
    ),
    "client.jwt_issuer": Key(Kind.TEXT, "One of these a token must be from (`iss`); empty: it may be anybody's."),
    "client.jwt_from": Key(
        Kind.SOURCE, "Where a token is looked for, in this order: `header` is `Authorization: Bearer`."
    ),
    "client.jwt_required": Key(
        Kind.FLAG,
        "Whether who has no token is refused, with 401. A token that is not good is, in either case.",
    ),
    "client.jwt_leeway": Key(Kind.SECONDS, "By which the issuer's clock may differ from ours.", zero="not at all"),
    # --- client: limits of the protocols
    "client.max_message_bytes": Key(Kind.BYTES, "One message, after decompression."),
    "client.max_header_bytes": Key(
        Kind.BYTES,
        "Request line and headers of an HTTP request.",
        at_least=1024,  # a browser's handshake has half of it
        at_most=MAX_HEAD_BYTES,
    ),
    "client.max_headers": Key(Kind.COUNT, "Headers of an HTTP request.", at_least=16),  # a browser's handshake
    "client.max_target_bytes": Key(Kind.BYTES, "Target (path and query) of an HTTP request.", at_most=MAX_HEAD_BYTES),
    "client.max_body_bytes": Key(Kind.BYTES, "Body of an HTTP request, after decompression."),
    "client.max_encoding_layers": Key(
        Kind.COUNT, "Content encodings of an HTTP body, one over another.", zero="none accepted"
    ),
    "client.handshake_timeout": Key(
        Kind.SECONDS, "From a header's first byte to its last; also for a new connection that says nothing."
    ),
    "client.body_timeout": Key(Kind.SECONDS, "From the first byte of a body or message to its last."),
    "client.keepalive_timeout": Key(Kind.SECONDS, "Idle HTTP connection between requests."),
    "client.ping_interval": Key(Kind.SECONDS, "Silence after which a session is pinged.", zero="never"),
    "client.ping_timeout": Key(
        Kind.SECONDS,
        "Silence after a ping that ends the session; also how long a client may take nothing of what waits.",
    ),
    "client.close_timeout": Key(Kind.SECONDS, "For the client's part of a closing handshake."),
    "client.application_ping": Key(Kind.FLAG, 'Whether `{"p":1}` is answered `{"p":2}` by the proxy.'),
    "client.origins": Key(
        Kind.ORIGIN,
        "Values of Origin that may open a WebSocket, or use a token in a cookie; `*` allows all, also none.",
    ),
    "client.subprotocols": Key(Kind.TOKEN, "WebSocket subprotocols by preference; empty takes the client's first."),
    "client.compression": Key(
        Kind.FLAG,
        "Whether permessage-deflate is offered. Costs memory per connection, and CPU per reply and "
        "notification: one of 128 bytes to 64 KiB is compressed, a longer one is sent as it is.",
    ),
    "client.trusted_peers": Key(Kind.NETWORK, "Networks whose X-Forwarded-For is believed."),
    # --- node
    "node.bind": Key(Kind.ENDPOINT, "Where nodes connect; `tcp://HOST:*` takes a free port."),
    "node.token": Key(Kind.SECRET, "Shared secret that a node must present."),
    "node.curve_secret_key_file": Key(Kind.FILE, "The proxy's secret key, by `holdfast keygen`; turns CURVE on."),
    "node.curve_authorized_keys": Key(
        Kind.FOLDER, "Public key files of the nodes that may connect; empty: any key may, and the token decides."
    ),
    "node.insecure_bind_without_authentication": Key(
        Kind.FLAG, "Whether nodes may come from other machines without proving who they are."
    ),
    "node.heartbeat_interval": Key(Kind.SECONDS, "Between two heartbeats, both ways."),
    "node.heartbeat_timeout": Key(Kind.SECONDS, "Silence after which a frozen node is given up."),
    "node.max_nodes": Key(Kind.COUNT, "Nodes at once.", at_most=10**6),
    "node.max_frame_bytes": Key(Kind.BYTES, "One batch of frames from a node.", at_most=MAX_BATCH_BYTES),
    "node.max_outbox_bytes": Key(Kind.BYTES, "Waiting for a node that does not read; above it the node is lost."),
    "node.handshake_timeout": Key(Kind.SECONDS, "From a node's hello until it is ready."),
    "node.max_untaken_bytes": Key(
        Kind.BYTES, "Of a reply in parts that its client has not taken; then the node waits with the next part."
    ),
    "node.registry_page": Key(Kind.COUNT, "Clients, or entries of the state, in one page of a snapshot."),
    # --- request
    "request.timeout": Key(Kind.SECONDS, "From a request's coming to its reply, redeliveries included."),
    "request.stream_timeout": Key(
        Kind.SECONDS, "Between two parts of a reply, of whichever route; at least `request.timeout`."
    ),
    "request.max_attempts": Key(
        Kind.COUNT, "Nodes that may be lost while they have one request; then it is quarantined: given to no other."
    ),
    "request.redelivery": Key(
        Kind.CHOICE, "Whether requests of a lost node go to another: `auto` where the protocol allows it, or `never`."
    ),
    "request.max_in_flight": Key(Kind.COUNT, "Requests with nodes at once."),
    "request.max_parked": Key(Kind.COUNT, "Requests that wait for a node to become available."),
    "request.max_parked_bytes": Key(Kind.BYTES, "Payloads of the requests that wait."),
    "request.parked_timeout": Key(Kind.SECONDS, "How long a request waits before it is refused."),
    "request.retry_after": Key(Kind.SECONDS, "Hint for the client in a refusal."),
    # --- balance
    "balance.policy": Key(Kind.CHOICE, "Which of the available nodes takes a request."),
    "balance.sticky_key": Key(
        Kind.TEXT, "What `sticky` goes by: `client`, `header:NAME`, or `field:NAME` of a JSON message."
    ),
    "balance.slow_start": Key(
        Kind.SECONDS, "A new node's share grows from a tenth to all within this.", zero="all at once"
    ),
    "balance.ejection_failures": Key(
        Kind.COUNT, "5xx, and timeouts while it answers nothing, in a row, that take a node out.", zero="never"
    ),
    "balance.ejection_time": Key(Kind.SECONDS, "For how long; doubles with each ejection in a row."),
    "balance.ejection_time_max": Key(Kind.SECONDS, "The longest ejection."),
    "balance.ejection_max_share": Key(
        Kind.SHARE, "Part of the ready nodes that may be out at once; the last one never is.", at_most=1
    ),
    # --- election
    "election.lease": Key(Kind.SECONDS, "A master stops this long after its last renewal."),
    # --- state
    "state.max_keys": Key(Kind.COUNT, "Entries of the nodes' replicated state.", at_most=MAX_KEYS),
    "state.max_bytes": Key(Kind.BYTES, "Keys and values of the state together.", at_most=MAX_BYTES),
    "state.max_key_bytes": Key(Kind.BYTES, "One key of the state.", at_most=MAX_KEY_BYTES),
    "state.max_value_bytes": Key(Kind.BYTES, "One value of the state."),
    "state.recover_timeout": Key(
        Kind.SECONDS,
        "After a start without any state, the proxy waits so long for nodes that have it, and nodes for the state.",
        zero="none: what it has is the state",
    ),
    # --- realtime
    "realtime.max_channels": Key(Kind.COUNT, "Channels with at least one client."),
    "realtime.max_channel_name_bytes": Key(Kind.BYTES, "A channel's name in UTF-8."),
    "realtime.max_unacknowledged_bytes": Key(
        Kind.BYTES, "What a node does to clients that is not carried out yet, for each; then the node waits."
    ),
    "realtime.max_remembered_bytes": Key(
        Kind.BYTES,
        "For the requests of a cluster whose effects are remembered, so that those of a redelivered one happen once.",
    ),
    # --- store
    "store.kind": Key(
        Kind.CHOICE,
        "What the proxies of a cluster find each other by: `sqlite` on one machine, `redis` on several; "
        "with `memory` this proxy is alone.",
    ),
    "store.name": Key(Kind.TEXT, "Of the cluster, where several share a Redis."),
    "store.path": Key(Kind.TEXT, "sqlite: the file, on a disk of this machine."),
    "store.urls": Key(
        Kind.URL,
        "redis: `redis://HOST:PORT/DATABASE`, or `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE`; "
        "several are the nodes of a Redis Cluster. `rediss` for TLS.",
    ),
    "store.password": Key(Kind.SECRET, "redis: its password."),
    "store.sentinel_password": Key(Kind.SECRET, "redis: the password of the Sentinels themselves."),
    "store.timeout": Key(Kind.SECONDS, "For one operation; after it the store counts as gone."),
    # --- history
    "history.kind": Key(
        Kind.CHOICE,
        "Where the logs of channels with history are: as `store.kind` says, or elsewhere: `sqlite` is a file beside "
        "`store.path`, `redis` is at `store.urls`, `memory` is gone with this proxy.",
    ),
    "history.without_store": Key(
        Kind.CHOICE,
        "What becomes of what is published to such a channel while its store can't be reached: `deliver` it to those "
        "who are connected, and tell who comes back that something is missing, or `refuse` it.",
    ),
    "history.max_bytes": Key(
        Kind.BYTES, "Of all logs together; each publication counts 200 bytes beside its payload, each log 1000."
    ),
    "history.remember": Key(
        Kind.SECONDS,
        "For how long a publication is known, so that one that comes once more is not in the log twice.",
        at_least=60,  # nodes keep what they have for a proxy for so long
        at_most=86_400,
    ),
    "history.max_identities": Key(Kind.COUNT, "Publications that are known so."),
    # --- cluster
    "cluster.minimum_nodes": Key(
        Kind.COUNT, "Ready nodes that it takes for `/ready` to say so.", zero="ready without any"
    ),
    "cluster.pub": Key(Kind.ENDPOINT, "Where this proxy publishes what it knows to the others."),
    "cluster.router": Key(
        Kind.ENDPOINT,
        "Where the other proxies ask this one; empty: the first of node.bind, and in place of a wildcard `_site_`.",
    ),
    "cluster.heartbeat": Key(Kind.SECONDS, "Between two heartbeats of a proxy."),
    "cluster.heartbeat_timeout": Key(
        Kind.SECONDS,
        "Silence after which a proxy is not heard any more.",
        at_most=60,  # the first of a cluster waits almost as long for others
    ),
    "cluster.discover_timeout": Key(
        Kind.SECONDS, "For the others' answers; and how long a proxy that has joined waits for the nodes."
    ),
    "cluster.join_attempt_interval": Key(Kind.SECONDS, "Between two attempts to join."),
    "cluster.retry_join": Key(Kind.COUNT, "Attempts to join before the proxy gives up and ends."),
    "cluster.wait_for_missing_rooms": Key(
        Kind.SECONDS, "How long a question for a channel's count waits for other proxies.", zero="not: they count 0"
    ),
    "cluster.fence_timeout": Key(
        Kind.SECONDS, "How long a proxy that does not hear the majority keeps its clients.", zero="not at all"
    ),
    "cluster.takeover_timeout": Key(
        Kind.SECONDS,
        "Absence from the store after which a lost majority counts as dead, so that the rest goes on without it.",
        zero="never: that takes `reset`",
    ),
    # --- admin
    "admin.bind": Key(Kind.ADDRESS, "Where the admin server listens. On loopback, `Host` must be that, too: else 403."),
    "admin.token": Key(Kind.SECRET, "What callers must present as bearer token. Required beyond loopback."),
    "admin.tokens": Key(
        Kind.SCOPED,
        "Further tokens that may do just that: `read` (what is shown), `publish` (messages, joins, leaves), `operate` "
        "(drain, kick, close, reset), `*` (all). A token that has several is there several times.",
    ),
    # --- log
    "log.level": Key(Kind.CHOICE, "The least important log lines that are written."),
    "log.format": Key(Kind.CHOICE, "`json`, `text` for people, or `auto`: text on a terminal, else JSON."),
    "log.access_log": Key(Kind.FLAG, "Whether requests are logged."),
    "log.access_log_sample": Key(Kind.SHARE, "Part of the requests that is logged.", zero="none", at_most=1),
    # --- drain
    "drain.timeout": Key(
        Kind.SECONDS,
        "From SIGTERM until who is left is cut off: half of it for requests in flight, the rest for closing.",
        zero="nobody is waited for",
    ),
    "drain.spread": Key(
        Kind.SECONDS, "Time over which clients are then closed, so that they do not all return at once.", zero="at once"
    ),
}


SCOPES = ("read", "publish", "operate", "*")  # of Kind.SCOPED: what the admin server lets a token do
MASK = "********"  # in place of a secret where it is shown; as a secret it is refused


def is_secret(name: str) -> bool:
    return KEYS[name].kind in (Kind.SECRET, Kind.SCOPED)
