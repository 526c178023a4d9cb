import pytest

from holdfast.protocols.endpoints import endpoints_of, name_in


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("tcp://proxy.example.org:7510", ("proxy.example.org", 7510)),
        ("tcp://localhost:1", ("localhost", 1)),
        ("tcp://127.0.0.1:7510", None),
        ("tcp://10.0.2.542345:7510", None),
        ("tcp://[::1]:7510", None),
        ("tcp://[eth0:ipv4]:7510", None),
        ("tcp://*:7510", None),
        ("tcp://proxy:*", None),
        ("tcp://:7510", None),
        ("tcp://proxy", None),
        ("tcp://eth0;proxy:7510", None),
        ("ipc:///run/proxy:7510", None),
        ("", None),
    ],
)
def test_what_has_to_be_looked_up(endpoint, name):
    assert name_in(endpoint) == name


def test_what_was_found():
    found = [
        (10, 1, 6, "", ("fe80::1%eth0", 7510, 0, 2)),
        (2, 1, 6, "", ("192.0.2.1", 7510)),
        (2, 1, 6, "", ("192.0.2.1", 7510)),
    ]
    assert endpoints_of(found) == ["tcp://[fe80::1%eth0]:7510", "tcp://192.0.2.1:7510"]
