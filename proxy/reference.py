"""The reference pages of the documentation, made from the tables in the code, so that they can't differ from it.

`python -m holdfast.proxy.reference docs/reference` writes configuration.md, errors.md, log.md, metrics.md,
admin-api.md and openapi.json.
"""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import holdfast
from holdfast.node import measuring
from holdfast.protocols.clients.centrifuge.codes import close_code, error_code
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.admin.api import MAX_PUBLISHING
from holdfast.proxy.admin.exporter import METRICS
from holdfast.proxy.admin.idempotency import MAX_KEPT, MAX_KEY, SECONDS
from holdfast.proxy.admin.openapi import description
from holdfast.proxy.admin.routes import ROUTES
from holdfast.proxy.config.channels import KEYS as CHANNEL_KEYS
from holdfast.proxy.config.channels import MAX_RULES
from holdfast.proxy.config.keys import KEYS, Kind
from holdfast.proxy.config.routes import KEYS as ROUTE_KEYS
from holdfast.proxy.config.routes import MAX_ROUTES
from holdfast.proxy.config.sections import Config
from holdfast.proxy.config.sources import SECTIONS, value_of
from holdfast.proxy.config.values import to_toml
from holdfast.proxy.events import FIELDS_OF_A_REQUEST, OF_NODES, OF_PROXIES

LEVELS = {name: name for name in ("debug", "info", "warning", "error")} | {"exception": "error"}
MADE = "<!-- Made by `make docs`: change the tables in the code, not this page. -->"

CONFIGURATION = f"""{MADE}
# Configuration

One TOML file (`holdfast serve --config FILE`), the environment and the command line; each wins over the one before
it. The key `max_connections` of the section `[client]`, for example, is

| Where | How |
|---|---|
| the file | `[client]` and below it `max_connections = 5000` |
| the environment | `HOLDFAST__CLIENT__MAX_CONNECTIONS=5000`, in upper or lower case |
| the command line | `--set client.max_connections=5000` |

Times are seconds, or text with a unit: `0.5`, `"500ms"`, `"10s"`, `"2m"`, `"1h"`. Sizes are bytes, or text with a
unit: `65536`, `"64KiB"`, `"1MB"` (`KB`, `MB`, `GB` are powers of 1000, `KiB`, `MiB`, `GiB` of 1024). A list may be
given as one text with commas between the items. Numbers are above 0 unless 0 has a meaning, which is then told.

A key that does not exist, a value of the wrong type or out of range, and values that contradict each other are refused
with one line and exit status 2. `holdfast check` lists everything that is wrong; `holdfast config` prints the whole
configuration and where each value is from, with secrets masked. Nothing is read again while a proxy runs.
"""

ROUTES_PAGE = f"""## [[route]]

Routes are tables in a list, in the file only: their order counts. A request goes to the first one that takes it; what
none takes is for every node ([how to](../howto/routes-at-the-proxy.md)). What a route does not say matters not. Of a
list one is enough. At most {MAX_ROUTES}.

| Key | Value | Meaning |
|---|---|---|
"""

CHANNELS_PAGE = f"""
## [[channel]]

Rules of channels are tables in a list, in the file only: the first one whose `match` takes a channel's name counts for
it, and all that it does not say is as by default ([how to](../howto/channel-rules.md)). Without a rule no client
subscribes or publishes by itself, and nothing is kept. At most {MAX_RULES}.

| Key | Value | Meaning |
|---|---|---|
"""

ERRORS = f"""{MADE}
# Errors and close codes

Why a connection ends or a request fails, and what each protocol says then. The name is what logs, and the label
`reason` of the [metrics](metrics.md), show. Retryable: the same may work in a moment, so clients should come back,
after a pause with some chance in it. No connection is ever closed with 1000: client libraries take that for the
user's own wish and stay away.

1005 is not sent: it is how WebSocket calls a connection that was closed without a code. The last two are how
[Centrifuge's clients](../howto/centrifuge-clients.md) are told: the code of a connection that is closed, and that of
an error.

| Reason | When | WebSocket | HTTP | MQTT 5 | Centrifuge: closed | error | Retryable |
|---|---|---|---|---|---|---|---|
"""

METRICS_PAGE = f"""{MADE}
# Metrics

## Of a proxy

`GET /metrics` of the admin server, in Prometheus text format. The label `reason` is one of [these](errors.md), `limit`
a key of the [configuration](configuration.md) or a name in [limits](../topics/limits.md), `state` a state of a node.
`holdfast_build_info` carries the version, and the usual `process_*` metrics (memory, processor time, open
files) come along.

| Name | Type | Label | Meaning |
|---|---|---|---|
"""
NODE_METRICS = """
## Of a node

`GET /metrics` of where `holdfast node --metrics HOST:PORT` says, or `holdfast.run(node, metrics=...)`; without it
nothing is measured. `route`: the path of `on_request`, or field and value of `on_message`; empty for what takes all
others, or when no function took it. `function`: its name, or for what is no request of a client: `connect`, `open`,
`close`, `ask` or `publish`. The usual `process_*` metrics come along.

| Name | Type | Labels | Meaning |
|---|---|---|---|
"""

ADMIN_PAGE = f"""{MADE}
# The admin server's API

HTTP/1.1 at `admin.bind`, bodies and answers in JSON. [openapi.json](openapi.json), which is `GET /api/openapi.json` of
each proxy, too, describes all of it for tools. For Python there is `holdfast.Publisher`
([how to](../howto/publish-from-django-flask-cron.md)), for shells `holdfast status`, `nodes`, `clients`, `drain`,
`kick` and `publish`.

**Tokens.** If `admin.token` or `admin.tokens` are configured, callers present one as `Authorization: Bearer TOKEN`:
401 without one of them. `admin.token` may do everything; each of `admin.tokens` what its scope says, and else gets
403, which names the scope that it takes. Routes without a scope in this table take no token.

**Answers** have the header `Holdfast-Admin: 1`. What has not is another server's, as that where clients connect.

**Errors** have a status from 400 on, and the body `{{"error": {{"status": 404, "message": "no such client"}}}}`.

**Idempotency-Key.** A request that changes something may have this header: {MAX_KEY} characters at most that the caller
chooses, new for each request, the same each time that it is sent again. For {SECONDS / 60:.0f} minutes after a success
the same request with the same key gets the former answer, and nothing is done; while it is under way 409; another
request with the key 422. After a failure it is tried again. Keys are **per proxy**: another one of the cluster, another
worker of `serve --workers`, and the same one after a restart know nothing of them. The last {MAX_KEPT} answers are
kept.

**What nodes do.** `publish`, `close`, joins and leaves are carried out by one of the nodes, at the clients of all
proxies, as the effects of a request are ([what is guaranteed](../topics/delivery.md)): it waits for a node while none
is there, goes to another one when its node is lost, and what it says is done once. The answer comes when it is done. It
may have been done after 502, 504 or a lost connection, too, and after a 503 if a node was lost with it before. Who
waits for less than `request.timeout` says so with `Prefer: wait=4` (RFC 7240; `wait=4.5` too), and is told by then. At
most {MAX_PUBLISHING} of these, half of the admin server's connections, wait at once; more get 503.

| Route | Scope | |
|---|---|---|
"""

LOG_PAGE = f"""{MADE}
# What the log says

JSON lines on stderr, or text on a terminal (`log.format`), from `log.level` on. Every line has `timestamp`, `level`,
`event`, `logger`, and of workers `worker`. A traceback is in `exception`. Nothing that clients send is in it but paths
and addresses, and what a client was told when it was closed.

Lines of `holdfast node` and `holdfast.run` have `node`, and `logger` only those of the standard library's. What a
handler logs by either has `request`, `client` and `attempt` ([how to](../howto/background-jobs.md#what-the-log-says)),
and `trace_id` and `span_id` if its request came with a `traceparent` ([how to](../howto/observe.md#traces)).

| To find out | Look at |
|---|---|
| why a client was closed | `client_closed` by the client's id or address; `holdfast_connections_closed_total` has all |
| where a request went, and how long it took | `log.access_log = true`: a `request` line has node, attempt, seconds |
| which handler is slow | the same, by `path` and `node` |
| what a node did with a request | the node's lines with that `request`, and `attempt` |
| why a request failed | `handler_failed` in the node's log, by the id that the client was told |
| why it has no reply of a node | `request_timed_out`, `bad_reply`, `request_quarantined` |
"""

WHEN = {
    Reason.CLIENT_LEFT: "The client closed the connection, or it broke.",
    Reason.PROTOCOL_ERROR: "The client broke a rule of its protocol.",
    Reason.EXPIRED: "The time of its session is over, as its admission or its token said.",
    Reason.BAD_REQUEST: "A request that can be read, but not be meant.",
    Reason.NOT_UTF8: "Text that is not UTF-8.",
    Reason.MESSAGE_TOO_LARGE: "A message above `client.max_message_bytes`, or a body above `client.max_body_bytes`.",
    Reason.HEADERS_TOO_LARGE: "A header above `client.max_header_bytes`, or more than `client.max_headers`.",
    Reason.TARGET_TOO_LONG: "A target above `client.max_target_bytes`.",
    Reason.UNSUPPORTED_ENCODING: "A content encoding that is not known, or more layers than allowed.",
    Reason.NOT_IMPLEMENTED: "Something that the proxy does not do.",
    Reason.VERSION_NOT_SUPPORTED: "A version of the protocol that the proxy does not speak.",
    Reason.UPGRADE_REQUIRED: "A WebSocket handshake of another version than 13.",
    Reason.TOO_SLOW: "A header, body or message that did not come in time.",
    Reason.IDLE: "Silence: no answer to a ping, or no further request, and nothing that was still being read.",
    Reason.UNAUTHORIZED: "Who the client is was not proven.",
    Reason.REFUSED: "A node that was asked would not let the client in.",
    Reason.ORIGIN_REFUSED: "An Origin that `client.origins` does not list.",
    Reason.RATE_LIMITED: "More messages than `client.max_message_rate`.",
    Reason.TOO_MANY_CONNECTIONS: "`client.max_connections` are open.",
    Reason.TOO_MANY_FROM_ADDRESS: "`client.max_connections_per_address` are open from the client's address.",
    Reason.SLOW_CONSUMER: (
        "The client does not take what waits for it: that is more than `client.max_outbox_bytes`, or it has taken "
        "nothing for `client.ping_timeout`."
    ),
    Reason.KICKED: "A node or an operator ended the connection.",
    Reason.NO_NODE: "No node became available within `request.parked_timeout`.",
    Reason.PARKING_FULL: "No node is available, and as many requests wait as may.",
    Reason.NODE_LOST: "The node died with the request, which may not be sent to another one.",
    Reason.QUARANTINED: "So many nodes were lost with the request that it is given to no other one.",
    Reason.NODE_ERROR: "The node's handler failed.",
    Reason.BAD_REPLY: "The node's reply can't be said in the client's protocol.",
    Reason.DEADLINE_EXCEEDED: "No reply within `request.timeout`.",
    Reason.DRAINING: "The proxy is about to stop; or the request's node has, and it may not be sent to another one.",
    Reason.OVERLOADED: "All clients together hold more than `client.max_buffered_bytes`, this one among the most.",
    Reason.FENCED: "The proxy has not heard the majority of its cluster for `cluster.fence_timeout`.",
    Reason.INTERRUPTED: "What a node sent for the proxy's clients was lost on the way, and would be missing unnoticed.",
    Reason.INTERNAL_ERROR: "A fault of the proxy; its log says more.",
}


def configuration_page() -> str:
    defaults = Config()
    lines = [CONFIGURATION]
    for section in SECTIONS:
        lines.append(f"## [{section}]\n")
        lines.append("| Key | Default | Unit | Meaning |\n|---|---|---|---|")
        for name, key in KEYS.items():
            if name.partition(".")[0] != section:
                continue
            unit = _choices(SECTIONS[section][name.partition(".")[2]]) if key.kind is Kind.CHOICE else key.kind.value
            meaning = key.meaning + (f" 0: {key.zero}." if key.zero else "")
            lines.append(f"| `{name}` | `{to_toml(value_of(defaults, name))}` | {unit} | {meaning} |")
        lines.append("")
    lines.append(
        "".join(
            page + "".join(f"| `{key}` | {value} | {meaning} |\n" for key, (value, meaning) in keys.items())
            for page, keys in ((ROUTES_PAGE, ROUTE_KEYS), (CHANNELS_PAGE, CHANNEL_KEYS))
        )
    )
    return "\n".join(lines)


def _choices(type_: object) -> str:
    return ", ".join(f"`{choice}`" for choice in getattr(type_, "__args__", ()))


def errors_page() -> str:
    return ERRORS + "".join(
        f"| `{reason.value}` | {WHEN[reason]} | {reason.websocket} | {reason.http} | 0x{reason.mqtt:02X} "
        f"| {close_code(reason)} | {error_code(HoldfastError('', reason))[0]} "
        f"| {'yes' if reason.retryable else 'no'} |\n"
        for reason in Reason
    )


def metrics_page() -> str:
    of_proxies = "".join(
        f"| `{metric.name}` | {metric.kind.value} | {f'`{metric.label}`' if metric.label else ''} | {metric.help} |\n"
        for metric in METRICS
    )
    of_nodes = "".join(
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {help} |\n"
        for name, kind, labels, help in measuring.table()
    )
    return METRICS_PAGE + of_proxies + NODE_METRICS + of_nodes


def log_page() -> str:
    proxies, nodes = events_in("proxy", "balancer"), events_in("node", "kuzzle")
    return LOG_PAGE + _events("A proxy", proxies, OF_PROXIES) + _events("A node, by the library", nodes, OF_NODES)


def admin_page() -> str:
    rows = [ADMIN_PAGE]
    for route in ROUTES:
        query = "?" + "&".join(name for name, _ in route.query) if route.query else ""
        refusals = "".join(f" {status}: {meaning}" for status, meaning in route.refusals)
        scope = f"`{route.scope}`" if route.scope else ""
        rows.append(f"| `{route.method} {route.pattern}{query}` | {scope} | {route.summary}{refusals} |\n")
    rows.append("\n## Bodies\n\n")
    for route in ROUTES:
        if route.body is not None:
            rows.append(f"### {route.method} {route.pattern}\n\n{' '.join((route.body.__doc__ or '').split())}\n\n")
            rows.append(f"```json\n{route.body_example}\n```\n\n")
    return "".join(rows).rstrip() + "\n"


def openapi_page() -> str:
    return msgspec.json.format(msgspec.json.encode(description()), indent=2).decode() + "\n"


def _events(title: str, said: Mapping[str, tuple[set[str], list[str]]], meanings: Mapping[str, str]) -> str:
    rows = [f"\n## {title}\n\n| Event | Level | Fields | Meaning |\n|---|---|---|---|\n"]
    for event, meaning in meanings.items():
        levels, fields = said[event]
        rows.append(f"| `{event}` | {', '.join(sorted(levels))} | {', '.join(fields)} | {meaning} |\n")
    return "".join(rows)


def events_in(*folders: str) -> dict[str, tuple[set[str], list[str]]]:
    """Levels and fields of each event of these parts of holdfast, and of what lies beside them, as the code says it."""
    root = Path(holdfast.__file__).parent
    files = [*root.glob("*.py"), *(file for folder in folders for file in (root / folder).rglob("*.py"))]
    said: dict[str, tuple[set[str], list[str]]] = {}
    for file in sorted(files):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
                if ast.unparse(call.func.value) not in ("log", "self._log"):
                    continue
                levels, fields = said.setdefault(ast.literal_eval(call.args[0]), (set(), []))
                levels.add(LEVELS[call.func.attr])
                for keyword in call.keywords:
                    names = FIELDS_OF_A_REQUEST if keyword.arg is None else [keyword.arg]
                    fields += [name for name in names if name not in fields and name not in ("exc_info", "exception")]
    return said


PAGES = {
    "configuration.md": configuration_page, "errors.md": errors_page, "log.md": log_page, "metrics.md": metrics_page,
    "admin-api.md": admin_page, "openapi.json": openapi_page,
}  # fmt: skip


def write(folder: Path) -> None:
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
