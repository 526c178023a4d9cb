import socket
from contextlib import closing

import pytest

from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config import load
from holdfast.proxy.process.bound import Bound
from holdfast.proxy.process.workers import VARIABLE, Ports, WorkerLife, is_store_in, settings_of, store_in

ADDRESSES = ["client.bind=127.0.0.1:7512", "node.bind=tcp://127.0.0.1:7510", "admin.bind=127.0.0.1:7513"]


def config(*sets):
    return load(None, {}, [*ADDRESSES, *sets]).config


def settings(config, number, former=None):
    return dict(one.split("=", 1) for one in settings_of(config, number, former))


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return port


def test_a_life_travels_in_the_environment():
    first = WorkerLife(2, has_own_store=True)
    life = first.after(0).after(-9)
    assert WorkerLife.of({VARIABLE: str(life)}) == life == (2, 2, -9, True)
    assert WorkerLife.of({VARIABLE: str(WorkerLife(3))}) == (3, 0, 0, False)
    assert first.is_store_new
    assert not life.is_store_new, "the others have been there since"
    assert not WorkerLife(2).is_store_new
    assert WorkerLife.of({}).number == -1
    for text in ("", "1", "a:b:c:d", "1:2:3", "1:2:3:4:5"):
        with pytest.raises(ConfigError, match="HOLDFAST_WORKER: only"):
            WorkerLife.of({VARIABLE: text})


def test_a_store_in_a_folder_is_a_valid_configuration(tmp_path):
    own = config(*store_in(tmp_path))
    assert is_store_in(tmp_path, own)
    assert not is_store_in(tmp_path / "other", own)
    assert not is_store_in(tmp_path, config())
    store = own.store
    assert store.kind == "sqlite"
    assert store.path == f"{tmp_path}/store"


def test_the_first_is_bound_where_the_configuration_says():
    assert settings(config(), 0) == {
        "client.reuse_port": "true",
        "client.bind": "127.0.0.1:7512",
        "node.bind": "tcp://127.0.0.1:7510",
        "cluster.pub": "tcp://127.0.0.1:7511",
        "admin.bind": "127.0.0.1:7513",
    }


def test_others_are_on_the_same_hosts_with_ports_of_their_own():
    sets = [
        "client.bind=127.0.0.1:7512,[::1]:7512",
        "node.bind=tcp://127.0.0.1:7510,tcp://[::1]:7510,ipc:///run/holdfast",
        "node.token=x",
        "cluster.pub=tcp://[lo:ipv4]:7511",
        "cluster.router=tcp://proxy.example:7510",
        "admin.bind=[::1]:7513",
    ]
    assert settings(config(*sets), 2) == {
        "client.reuse_port": "true",
        "client.bind": "127.0.0.1:7512,[::1]:7512",
        "node.bind": "tcp://127.0.0.1:*,tcp://[::1]:*,ipc:///run/holdfast.2",
        "cluster.pub": "tcp://[lo:ipv4]:*",
        "cluster.router": "tcp://proxy.example:*",
        "admin.bind": "[::1]:0",
    }
    assert "cluster.router" not in settings(config(*sets), 0)


def test_what_they_are_told_is_a_valid_configuration():
    given = settings(config("client.protocols=http://127.0.0.1:7514"), 3)
    assert given["client.protocols"] == "http://127.0.0.1:7514"
    loaded = load(None, {}, [f"{key}={value}" for key, value in given.items()])
    assert loaded.config.node.bind == ("tcp://127.0.0.1:*",)


@pytest.mark.parametrize("number", [0, 1])
def test_whoever_is_started_again_has_the_ports_that_it_had(number, free):
    former = Bound(["127.0.0.1:7512"], [f"tcp://127.0.0.1:{free}"], f"127.0.0.1:{free}", f"tcp://127.0.0.1:{free}")
    given = settings(config("node.bind=tcp://127.0.0.1:*", "cluster.pub=tcp://[lo]:*"), number, former)
    assert given["node.bind"] == f"tcp://127.0.0.1:{free}"
    assert given["cluster.pub"] == f"tcp://[lo]:{free}"
    assert given["admin.bind"] == f"127.0.0.1:{free}"


def test_a_port_that_somebody_else_has_taken_since_is_given_up(taken):
    former = Bound(["127.0.0.1:7512"], [f"tcp://127.0.0.1:{taken}"], f"127.0.0.1:{taken}")
    given = settings(config(), 1, former)
    assert (given["node.bind"], given["admin.bind"]) == ("tcp://127.0.0.1:*", "127.0.0.1:0")
    assert settings(config(), 0, former)["node.bind"] == "tcp://127.0.0.1:7510"  # where it must be


def test_client_ports_are_reserved_and_can_be_listened_on():
    sets = ["client.bind=127.0.0.1:0", "client.protocols=http://127.0.0.1:0"]
    with closing(Ports(config(*sets), 2)) as reserved:
        told = reserved.config
        assert len(set(reserved.descriptors)) == 4
        assert str(reserved).replace(";", ",").split(",") == [str(each) for each in reserved.descriptors]
        addresses = [told.client.bind[0], told.client.protocols[0].removeprefix("http://")]
        ports = {int(address.removeprefix("127.0.0.1:")) for address in addresses}
        assert len(ports) == 2
        assert 0 not in ports
        for port in ports:
            with pytest.raises(OSError, match="in use"), socket.socket() as other:
                other.bind(("127.0.0.1", port))  # without SO_REUSEPORT
            with socket.create_server(("127.0.0.1", port), reuse_port=True):
                # who holds the port gets no connection: all of them come to the one who listens
                for _ in range(20):
                    socket.create_connection(("127.0.0.1", port), timeout=10).close()


def test_a_client_port_that_somebody_has_is_refused(taken):
    with pytest.raises(OSError, match=f"can't bind 127.0.0.1:{taken}: Address already in use"):
        Ports(config(f"client.bind=127.0.0.1:{taken}"), 2)
