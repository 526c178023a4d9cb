"""The one table of the admin server's routes: who may ask, what they send, what they are told.

`api` answers by it, `openapi` and proxy.reference describe it.
"""

from typing import NamedTuple

from holdfast.proxy.admin.access import OPERATE, PUBLISH, READ
from holdfast.proxy.admin.bodies import MAX_MESSAGES, MAX_NAMED, Close, Kick, Publication
from holdfast.proxy.views import (
    MAX_ASKED,
    ChannelCount,
    ChannelQuestion,
    ChannelRulesView,
    ClientPage,
    Closed,
    Drained,
    Health,
    Kicked,
    Membership,
    NodeList,
    PluginStatus,
    Published,
    Readiness,
    RouteQuestion,
    RouteView,
    StatusView,
)

ANYBODY = ""  # in place of a scope
SMALL_BODY = 64 << 10
LARGE_BODY = 1 << 20

CLIENT = "0001b2c3d4e5f607"


class Route(NamedTuple):
    """pattern: segments, of which {name} stands for any one. name: of the handler. scope: that a token takes. answer:
    the struct of a `status`; str: text; bool: "ok" or "ko", as Kuzzle's plugin says it. refusals: besides those that
    all have. body_example, answer_example: JSON."""

    method: str
    pattern: str
    name: str
    scope: str
    summary: str
    answer: type
    answer_example: str = ""
    status: int = 200
    body: type | None = None
    body_example: str = ""
    query: tuple[tuple[str, str], ...] = ()
    refusals: tuple[tuple[int, str], ...] = ()
    max_body_bytes: int = SMALL_BODY


NO_CLIENT_SAID = " Nobody is asked whether there is such a client: if not, nothing happens."
OF_A_NODE = (
    (500, "The node failed. Nothing is done; see its log."),
    (502, "Each node that had it was lost: perhaps it is done."),
    (503, "No node was there within `request.parked_timeout` or `Prefer: wait`; too much is asked. See Retry-After."),
    (504, "The node did not answer in time: perhaps it is done."),
)
_MEMBERSHIP = f'{{"client": "{CLIENT}", "channel": "kitchen", "joined": %s}}'

ROUTES = (
    Route("GET", "/health", "health", ANYBODY, "Whether the process lives.", Health, '{"status": "ok"}'),
    Route(
        *("GET", "/ready", "ready", ANYBODY, "Whether clients should be sent here."),
        *(Readiness, '{"ready": true, "reason": ""}'),
        refusals=((503, "No: the same body says why."),),
    ),
    Route("GET", "/metrics", "metrics", READ, "Metrics, in Prometheus text format.", str),
    Route(
        *("GET", "/api/openapi.json", "openapi", ANYBODY, "This description."),
        *(dict, '{"openapi": "3.1.0", "info": {}, "paths": {}}'),
    ),
    Route("GET", "/api/status", "status", READ, "The proxy, its nodes, and its cluster.", StatusView),
    Route("GET", "/api/nodes", "nodes", READ, "The nodes.", NodeList, '{"nodes": []}'),
    Route(
        *("GET", "/api/clients", "clients", READ, "The clients of this proxy, in pages.", ClientPage),
        '{"proxy": "p-1", "elsewhere": 0, "clients": [], "next": null}',
        query=(("limit", "At most so many, up to 1000."), ("after", "Those with a greater id only: the next page.")),
    ),
    Route(
        *("POST", "/api/publish", "publish", PUBLISH),
        f"Send a message, or up to {MAX_MESSAGES}, to clients of all proxies; with at most {MAX_NAMED} channels and "
        "clients in one body. One node carries them out: all in their order, or none.",
        *(Published, '{"messages": 1}'),
        body=Publication,
        body_example='{"channels": ["kitchen"], "payload": {"said": "dinner is ready"}}',
        refusals=OF_A_NODE,
        max_body_bytes=LARGE_BODY,
    ),
    Route(
        *("POST", "/api/clients/{id}/close", "close", OPERATE),
        "Have a node close a client's connection, with a code of the application's." + NO_CLIENT_SAID,
        *(Closed, f'{{"client": "{CLIENT}", "closing": true}}'),
        body=Close,
        body_example='{"code": 4001, "reason": "signed out"}',
        refusals=OF_A_NODE,
    ),
    Route(
        *("POST", "/api/clients/{id}/kick", "kick", OPERATE),
        "Close a client's connection, without a node, at whichever proxy it is.",
        *(Kicked, f'{{"client": "{CLIENT}", "kicked": true}}'),
        body=Kick,
        body_example='{"reason": "spam"}',
        refusals=((404, "No such client."), (503, "The proxy that has this client does not answer.")),
    ),
    Route(
        *("PUT", "/api/clients/{id}/channels/{channel}", "join", PUBLISH),
        "Have a node put a client into a channel." + NO_CLIENT_SAID,
        *(Membership, _MEMBERSHIP % "true"),
        refusals=((422, "A client of this proxy was not put into it: a limit of channels is reached."), *OF_A_NODE),
    ),
    Route(
        *("DELETE", "/api/clients/{id}/channels/{channel}", "leave", PUBLISH),
        "Have a node take a client out of a channel." + NO_CLIENT_SAID,
        *(Membership, _MEMBERSHIP % "false"),
        refusals=OF_A_NODE,
    ),
    Route(
        *("GET", "/api/channels/{channel}", "channel", READ, "How many clients are in a channel, at all proxies."),
        *(ChannelCount, '{"channel": "kitchen", "count": 2, "proxies": {"p-1": 2}}'),
        refusals=((503, "Too many ask for the counts of channels."),),
    ),
    Route(
        *("POST", "/api/nodes/{id}/drain", "drain", OPERATE),
        "Give a node no more requests; it finishes what it has.",
        *(Drained, '{"node": "n-1", "state": "draining"}'),
        status=202,
        refusals=((404, "No such node."), (503, "The node does not say that it knows.")),
    ),
    Route(
        *("POST", "/api/route", "route", READ, "Which route of the configuration takes a request, and why.", RouteView),
        body=RouteQuestion,
        body_example='{"url": "/rooms/5", "method": "GET"}',
    ),
    Route(
        *("POST", "/api/channel-rules", "channel_rules", READ),
        f"Which rules of the configuration take these channels, at most {MAX_ASKED}, and what holds for them.",
        ChannelRulesView,
        '{"channels": [{"channel": "room:5", "number": 2, "match": "room:{id}", "parameters": {"id": "5"}, '
        '"subscribe": "node", "publish": "never", "history_messages": 100, "history_bytes": 0, "history_age": 300.0, '
        '"presence": false, "why": ""}]}',
        body=ChannelQuestion,
        body_example='{"channels": ["room:5"]}',
    ),
    # as in Kuzzle's cluster plugin; proxy.admin.operator has them on the ports of clients
    Route(
        *("GET", "/_plugin/cluster/health", "cluster_health", ANYBODY),
        *("As /ready, for tools of Kuzzle's cluster plugin.", bool, '"ok"'),
        refusals=((503, 'No: the body is `"ko"`.'),),
    ),
    Route(
        *("GET", "/_plugin/cluster/status", "cluster_status", READ),
        *("The cluster, for tools of Kuzzle's cluster plugin.", PluginStatus),
    ),
    Route(
        *("POST", "/_plugin/cluster/reset", "cluster_reset", OPERATE),
        *("Make the cluster anew of the proxies that are heard here.", bool, '"ok"'),
        refusals=((409, "This proxy is alone."),),
    ),
)
