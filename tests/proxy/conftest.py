"""An admin server for tests, and what stands behind it there; a certificate."""

import subprocess

import pytest

from holdfast.balancer.channel_rules import ChannelRule, ChannelRules
from holdfast.balancer.routes import Routes
from holdfast.balancer.settings import RouteSettings
from holdfast.proxy.admin.api import Api
from holdfast.proxy.admin.server import AdminServer
from holdfast.proxy.config.sections import AdminSettings, ClientSettings, RealtimeSettings
from holdfast.proxy.nodes.explain import explained, question_of
from holdfast.proxy.realtime.explain import rules_of
from holdfast.proxy.views import ClientView, ClusterView, MasterView, NodeView, ProxyView, StatusView, format_client_id


def proxy_view(id, **fields):
    return ProxyView(
        **{
            "id": id,
            "router": f"tcp://{id}:7510",
            "pub": f"tcp://{id}:7511",
            "alive": True,
            "fenced": False,
            "clients": 3,
            "connections": 4,
            "in_flight": 9,
            "parked": 0,
            "requests": 100,
            "replies": 90,
            "redelivered": 1,
            "errors": 1,
            "channels": 2,
            "worker": -1,
            "restarts": 0,
            "last_exit": 0,
            **fields,
        }
    )


ROUTES = [RouteSettings("old", path=("/old",), status=410), RouteSettings("canary", path=("/new",), share=25.0)]
RULES = [
    ChannelRule("news:*"),
    ChannelRule("room:{id}", "node", history_messages=100, history_age=60.0, presence=True),
]
SILENT = 0xEE  # a client at a proxy that does not answer
SILENT_NODE = "silent"  # does not say that it knows


class FakeControl:
    """Control in memory: three nodes, some clients, three proxies, and a record of what was done to them."""

    def __init__(self):
        self.is_ready = True
        self.drained = []
        self.kicked = []
        self.client_ids = [1, 2, 0xFFFFFFFFFFFFFFFF]
        self.is_alone = False
        self.resets = 0
        self.published = []
        self.timeouts = []  # of these
        self.fault = None
        self.limits = []
        self.max_channel_name_bytes = 16
        self.members = {1: True}

    def ready(self):
        return (True, "") if self.is_ready else (False, "draining")

    def nodes(self):
        return [
            NodeView(
                id=id,
                name=name,
                state="ready",
                in_flight=3,
                capacity=256,
                weight=1.0,
                load=0.5,
                pid=pid,
                labels={"zone": "a"},
                ejected=False,
                ready_for=12.5,
            )
            for id, name, pid in (("n-1", "chat", 11), ("n-2", "chat", 12), ("n/3 ü", "mail\x1b[2J", 13))
        ]

    def status(self):
        return StatusView(
            ready=self.is_ready,
            reason=self.ready()[1],
            proxy="p-1",
            version="1.2.3",
            pid=7,
            uptime=60.0,
            clients=len(self.client_ids),
            connections=4,
            in_flight=9,
            parked=0,
            requests=100,
            replies=90,
            redelivered=1,
            errors=1,
            last_failover=0.0123,
            master=MasterView(node="n-1", epoch=3),
            nodes=self.nodes(),
            cluster=None if self.is_alone else self.cluster(),
        )

    def cluster(self):
        others = [proxy_view("p-2", worker=1, restarts=2, last_exit=-9), proxy_view("p-3", alive=False)]
        return ClusterView(
            here="p-1",
            version=7,
            epoch=3,
            master="n-1",
            keeper="p-1",
            fenced=False,
            trouble="",
            members=[proxy_view("p-1"), *([] if self.is_alone else others)],
        )

    def reset(self):
        self.resets += not self.is_alone
        return not self.is_alone

    async def count(self, channel):
        if channel == "too many":
            return None
        return {"p-1": 2, "p-3": 5} if channel == "the kitchen" else {}

    def clients(self, limit, after):
        return [
            ClientView(
                id=format_client_id(id),
                protocol="websocket",
                address="127.0.0.1:50000",
                path="/[red]a\x1b[2J",
                channels=2,
                in_flight=1,
                outbox_bytes=0,
                connected_for=61.0,
            )
            for id in sorted(self.client_ids)
            if after is None or id > after
        ][:limit]

    async def drain_node(self, node_id):
        if node_id == SILENT_NODE:
            return None
        if node_id not in {node.id for node in self.nodes()}:
            return False
        self.drained.append(node_id)
        return True

    async def kick(self, client_id, reason):
        if client_id == SILENT:
            return None
        if client_id not in self.client_ids:
            return False
        self.kicked.append((client_id, reason))
        return True

    def route(self, asked):
        table = Routes(ROUTES, [None] * len(ROUTES))
        return explained(table, question_of(asked, ClientSettings()), ["n-1", "n-2"])

    def channel_rules(self, asked):
        return rules_of(ChannelRules(RULES), asked.channels, RealtimeSettings())

    async def publish(self, effects, timeout):
        self.timeouts.append(timeout)
        if self.fault is not None:
            raise self.fault
        self.published.append(effects)

    def is_member(self, client, channel):
        return self.members.get(client)

    def limit_hit(self, name):
        self.limits.append(name)

    def metrics(self):
        return b"# HELP holdfast_ready 1 while /ready says 200.\n"


@pytest.fixture
def control():
    return FakeControl()


@pytest.fixture
def serve(control, nursery):
    """Start an admin server in front of `control`; returns its address."""

    async def serve(token="", answer=None, loopback=True, tokens=()):
        api = Api(control, AdminSettings("127.0.0.1:0" if loopback else "0.0.0.0:0", token, tokens))
        server = AdminServer("127.0.0.1:0", answer or api.answer, room=api.room)
        return await nursery.start(server.run)

    return serve


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed pair, made by openssl as an operator would."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)
