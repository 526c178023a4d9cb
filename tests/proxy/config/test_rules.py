import pytest

from proxy.config import Config, examine
from proxy.config.rules import broken


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
        (["admin.bind=0.0.0.0:7513"], "admin.bind: expected a loopback address, or admin.token to be set"),
        (["admin.bind=example.org:7513"], "admin.bind: expected a loopback address, or admin.token to be set"),
        (["admin.token=é"], "admin.token: expected printable ASCII without spaces"),
        (["node.heartbeat_timeout=1s"], "node.heartbeat_timeout: expected more than twice node.heartbeat_interval"),
        (["election.lease=1s"], "election.lease: expected more than twice node.heartbeat_interval"),
        (["client.tls_key_file={file}"], "client.tls_certificate_file: expected the certificate file"),
        (["client.tls_certificate_file={file}"], "client.tls_key_file: expected the key file"),
        (["node.max_outbox_bytes=8MiB"], "node.max_outbox_bytes: expected more than the largest request, 8388608"),
        (
            ["client.max_message_bytes=1GiB", "node.max_frame_bytes=2GiB"],
            "node.max_outbox_bytes: expected more than the largest request",
        ),
        (["client.max_body_bytes=16MiB"], "node.max_frame_bytes: expected at least 16842752"),
        (
            ["state.max_value_bytes=16MiB", "state.max_bytes=1GiB"],
            "state.max_value_bytes: expected less than node.max_frame_bytes",
        ),
        (["state.max_bytes=256KiB"], "state.max_bytes: expected at least one entry, 263168"),
        (["balance.sticky_key=header:"], 'balance.sticky_key: expected "client", "header:NAME" or "field:NAME"'),
        (["balance.sticky_key=cookie:a"], 'balance.sticky_key: expected "client", "header:NAME" or "field:NAME"'),
        (["balance.ejection_time=2m"], "balance.ejection_time_max: expected at least balance.ejection_time (120)"),
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
        ["admin.bind=0.0.0.0:7513", "admin.token=x"],
        ["admin.bind=[::1]:7513"],
        ["client.tls_certificate_file={file}", "client.tls_key_file={file}"],
        ["balance.sticky_key=field:user.id"],
    ],
)
def test_what_rules_allow(sets, file):
    loaded, problems = examine(None, {}, [item.format(file=file, folder=file.parent) for item in sets])
    assert problems == []
    assert loaded is not None
