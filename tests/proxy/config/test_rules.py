import pytest
import zmq.auth

from holdfast.proxy.config import Config, examine
from holdfast.proxy.config.rules import broken

JWT = "client.jwt_keys=0123456789abcdef0123456789abcdef"
CLUSTER = ["store.kind=sqlite", "store.path=x"]


def test_the_defaults_break_no_rule():
    assert list(broken(Config())) == []


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.pem"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (["node.bind=tcp://0.0.0.0:7510"], "node.bind: expected a loopback address, or authentication by node.token"),
        (["node.bind=tcp://*:*", "node.curve_secret_key_file={file}"], "node.bind: expected a loopback address"),
        (["node.curve_authorized_keys={folder}"], "node.curve_secret_key_file: expected a key file"),
        (
            ["admin.bind=0.0.0.0:7513"],
            "admin.bind: expected a loopback address, or admin.token or admin.tokens to be set",
        ),
        (
            ["admin.bind=example.org:7513"],
            "admin.bind: expected a loopback address, or admin.token or admin.tokens to be set",
        ),
        (["admin.token=é"], "admin.token: expected printable ASCII without spaces"),
        (
            ["client.jwt_keys=hush"],
            "client.jwt_keys: expected a secret of at least 32 bytes (openssl rand -hex 32), or the",
        ),
        (
            ["client.jwt_keys=/nowhere.pem"],
            "the path of a PEM or JWKS file that can be read (No such file or directory)",
        ),
        (["client.jwt_keys={file}"], "client.jwt_keys: expected a PEM or JWKS file"),
        (
            [JWT, "client.jwt_algorithms=ES256"],
            "client.jwt_keys: expected a key for ES256 (client.jwt_algorithms), there",
        ),
        (["client.jwt_audience=a"], "client.jwt_keys: expected keys, because client.jwt_audience is set, got nothing"),
        (["client.jwt_issuer=a"], "client.jwt_keys: expected keys, because client.jwt_issuer is set, got nothing"),
        (["client.jwt_from=query:token"], "client.jwt_keys: expected keys, because client.jwt_from is set"),
        (["client.jwt_leeway=0s"], "client.jwt_keys: expected keys, because client.jwt_leeway is set"),
        (["client.jwt_algorithms=HS256"], "client.jwt_keys: expected keys, because client.jwt_algorithms is set"),
        ([JWT, "client.jwt_from=header,cookie:a"], "client.origins: expected the origins of your pages: with a cookie"),
        (["node.heartbeat_timeout=1s"], "node.heartbeat_timeout: expected more than twice node.heartbeat_interval"),
        (
            ["node.handshake_timeout=5s"],
            "node.handshake_timeout: expected more than state.recover_timeout (2) and 3 s: nodes wait so long",
        ),
        (["state.recover_timeout=7s"], "node.handshake_timeout: expected more than state.recover_timeout (7) and 3 s"),
        (["election.lease=1s"], "election.lease: expected more than twice node.heartbeat_interval"),
        (["client.tls_key_file={file}"], "client.tls_certificate_file: expected the certificate file"),
        (["client.tls_certificate_file={file}"], "client.tls_key_file: expected the key file"),
        (["node.max_outbox_bytes=8MiB"], "node.max_outbox_bytes: expected more than the largest request, 8388608"),
        (
            ["client.max_message_bytes=200MiB", "node.max_frame_bytes=256MiB", "client.max_buffered_bytes=1GiB"],
            "node.max_outbox_bytes: expected more than the largest request",
        ),
        (
            ["state.max_value_bytes=15MiB", "node.max_outbox_bytes=15MiB"],
            "node.max_outbox_bytes: expected more than the largest request, 8388608 (client.max_message_bytes, "
            "client.max_body_bytes), and more than the largest entry of the state "
            "(state.max_key_bytes + state.max_value_bytes), 15729664",
        ),
        (["client.max_buffered_bytes=127MiB"], "client.max_buffered_bytes: expected at least 4 times"),
        (["client.max_body_bytes=16MiB"], "node.max_frame_bytes: expected at least 16842752"),
        (
            ["state.max_value_bytes=16MiB", "state.max_bytes=1GiB"],
            "node.max_frame_bytes: expected at least 16780288, for a node to propose the largest entry of the state",
        ),
        (["state.max_value_bytes=16777000"], "node.max_frame_bytes: expected at least 16780072, for a node to propose"),
        (["state.max_bytes=256KiB"], "state.max_bytes: expected at least 263168: one entry of the state"),
        (["balance.sticky_key=header:"], 'balance.sticky_key: expected "client", "header:NAME" or "field:NAME"'),
        (["balance.sticky_key=cookie:a"], 'balance.sticky_key: expected "client", "header:NAME" or "field:NAME"'),
        (["store.kind=sqlite"], "store.path: expected the file that the proxies of this machine share"),
        (["store.kind=redis", "store.urls=redis://h/x"], "store.urls: expected a number as database"),
        (["store.kind=redis", "store.urls="], "store.urls: expected at least one URL"),
        ([*CLUSTER, "history.kind=memory"], "history.kind: expected store or sqlite, because several proxies share no"),
        (["store.kind=redis", "history.kind=sqlite"], "history.kind: expected store or redis, because proxies of sev"),
        (["history.kind=sqlite"], "store.path: expected the file"),
        (["history.kind=redis", "store.urls=redis://h/x"], "store.urls: expected a number as database"),
        ([*CLUSTER, "cluster.pub="], "cluster.pub: expected a ZeroMQ endpoint"),
        ([*CLUSTER, "cluster.pub=tcp://[_site_:ipv4]:7511"], "cluster.pub: expected a loopback address, or authen"),
        (
            [*CLUSTER, "cluster.heartbeat=1s"],
            "cluster.heartbeat_timeout: expected more than twice cluster.",
        ),
        ([*CLUSTER, "cluster.takeover_timeout=17s"], "cluster.takeover_timeout: expected 0, or at least 17.6: 4 x"),
        (["balance.ejection_time=2m"], "balance.ejection_time_max: expected at least balance.ejection_time (120)"),
        (["cluster.minimum_nodes=6", "node.max_nodes=5"], "cluster.minimum_nodes: expected at most node.max_nodes (5)"),
        (
            ["client.bind=127.0.0.1:7600", "admin.bind=127.0.0.1:7600"],
            'admin.bind: expected another address than that of client.bind (127.0.0.1:7600), got "127.0.0.1:7600"',
        ),
        (["client.bind=0.0.0.0:7513"], "default: admin.bind: expected another address than that of client.bind"),
        (["client.bind=[::1]:1,[::]:1"], "client.bind: expected another address than that of client.bind ([::1]:1)"),
        (
            ["client.doors=lines:/a"],
            "client.doors: expected one of the registered protocols of doors (centrifuge, s",
        ),
        (["client.doors=centrifuge:/a,centrifuge:/a"], "client.doors: expected one protocol for /a, got"),
        (["client.protocols=a://127.0.0.1:7512"], "client.protocols: expected another address than that of client."),
        (["node.bind=tcp://127.0.0.1:7512"], "node.bind: expected another address than that of client.bind"),
        (
            ["client.bind=127.0.0.1:07512,0.0.0.0:7512"],
            "expected another address than that of client.bind (127.0.0.1:07",
        ),
        (["client.bind=[::1]:1,[::0:1]:1"], "client.bind: expected another address than that of client.bind ([::1]:1)"),
        (["client.bind=[::0:0]:1,[::1]:1"], "expected another address than that of client.bind ([::0:0]:1)"),
        (["node.bind=ipc:///a,ipc:///a"], "node.bind: expected another address than that of node.bind (ipc:///a)"),
        ([*CLUSTER, "cluster.pub=tcp://127.0.0.1:7510"], "cluster.pub: expected another address than that of node."),
    ],
)
def test_a_broken_rule_is_one_line_that_names_the_key(sets, line, file):
    sets = [assignment.format(file=file, folder=file.parent) for assignment in sets]
    loaded, problems = examine(None, {}, sets)
    assert loaded is None
    assert len(problems) == 1
    assert line in problems[0]


@pytest.mark.parametrize(
    "sets",
    [
        ["node.bind=tcp://0.0.0.0:7510", "node.token=x"],
        ["node.bind=tcp://0.0.0.0:7510", "node.insecure_bind_without_authentication=true"],
        [
            "node.bind=tcp://0.0.0.0:7510",
            "node.curve_secret_key_file={file}",
            "node.curve_authorized_keys={folder}",
        ],
        ["node.bind=ipc:///run/holdfast,tcp://[::1]:*"],
        ["node.bind=ipc://*,ipc://*"],
        ["client.bind=127.0.0.1:00,127.0.0.1:00"],
        ["admin.bind=0.0.0.0:7513", "admin.token=x"],
        ["admin.bind=[::1]:7513"],
        ["client.tls_certificate_file={file}", "client.tls_key_file={file}"],
        ["client.bind=127.0.0.1:0,0.0.0.0:0", "admin.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*,tcp://[::1]:*"],
        ["client.bind=127.0.0.2:7600,[::]:7600", "admin.bind=127.0.0.1:7600"],
        ["cluster.pub=tcp://127.0.0.1:7510"],  # alone
        ["cluster.minimum_nodes=5", "node.max_nodes=5"],
        ["balance.sticky_key=field:user.id"],
        [JWT, "client.jwt_algorithms=HS256,RS256", "client.jwt_audience=a,b", "client.jwt_from=query:token,header"],
        [JWT, "client.jwt_from=cookie:session", "client.origins=https://a.example"],
        ["client.max_body_bytes=16711680"],  # node.max_frame_bytes less what is around it
        ["state.max_value_bytes=16774144"],
        ["state.max_bytes=263168"],
        ["node.handshake_timeout=3.1s", "state.recover_timeout=0"],
        ["client.max_buffered_bytes=128MiB"],
        ["node.max_outbox_bytes=8388609"],
        ["cluster.pub=tcp://*:7511", "cluster.heartbeat=1m", "cluster.takeover_timeout=1s", "store.urls=x"],  # alone
        ["store.kind=redis", "store.urls=redis+sentinel://a,b/m"],
        [*CLUSTER, "cluster.pub=tcp://[_site_:ipv4]:7511", "node.token=x"],
        [*CLUSTER, "cluster.pub=tcp://[127.0.0.1:ipv4]:7511"],
        [*CLUSTER, "history.kind=redis"],
        [*CLUSTER, "history.kind=sqlite"],
        ["history.kind=sqlite", "store.path=x"],
        [*CLUSTER, "cluster.takeover_timeout=0", "election.lease=1m"],
        [*CLUSTER, "cluster.takeover_timeout=17.6", "cluster.router=tcp://proxy.example:7510"],
    ],
)
def test_what_rules_allow(sets, file):
    loaded, problems = examine(None, {}, [item.format(file=file, folder=file.parent) for item in sets])
    assert problems == []
    assert loaded is not None


def test_proxies_of_a_cluster_must_know_their_own_key(tmp_path):
    zmq.auth.create_certificates(tmp_path, "proxy")
    authorized = tmp_path / "authorized"
    authorized.mkdir()
    zmq.auth.create_certificates(authorized, "node")
    sets = [f"node.curve_secret_key_file={tmp_path}/proxy.key_secret", f"node.curve_authorized_keys={authorized}"]
    assert examine(None, {}, sets)[1] == []  # alone
    [line] = examine(None, {}, [*CLUSTER, *sets])[1]
    assert "node.curve_authorized_keys: expected the public key of node.curve_secret_key_file among them" in line
    (tmp_path / "proxy.key").rename(authorized / "us.key")
    assert examine(None, {}, [*CLUSTER, *sets])[1] == []


def test_a_channel_with_tokens_needs_keys(tmp_path):
    file = tmp_path / "holdfast.toml"
    file.write_text('[[channel]]\nmatch = "a"\n[[channel]]\nmatch = "news:*"\nsubscribe = "token"\n')
    [line] = examine(file, {})[1]
    assert 'client.jwt_keys: expected keys, because channel 2, "news:*", has subscribe = "token"' in line
    assert examine(file, {}, [JWT])[1] == []
