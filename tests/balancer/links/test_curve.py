"""Who may come to the node port with a key."""

import shutil

import pytest
import zmq.auth
from structlog.testing import capture_logs

from holdfast.balancer.links.curve import LOOK_INTERVAL, TELL_INTERVAL, Curve
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.keys import decode_key


class Keys:
    """A folder of authorized keys, and others beside it. now: the clock of who looks into it."""

    def __init__(self, path):
        self.now = 0.0
        self._path = path
        self.folder = path / "authorized"
        self.folder.mkdir()
        self.make("ours")
        self.add("ours")
        self.curve = Curve(str(path / "ours.key_secret"), str(self.folder), lambda: self.now)

    def make(self, name):
        return decode_key(zmq.auth.load_certificate(zmq.auth.create_certificates(self._path, name)[0])[0])

    def add(self, name):
        shutil.copy(self._path / f"{name}.key", self.folder)

    def remove(self, name):
        (self.folder / f"{name}.key").unlink()


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


def told(lines):
    return [decode_key(line["key"].encode()) for line in lines if line["event"] == "key_not_authorized"]


def test_a_key_that_is_added_is_let_in_and_one_that_is_removed_is_not(keys):
    key = keys.make("second")
    assert not keys.curve.is_authorized(key)
    keys.add("second")
    assert not keys.curve.is_authorized(key), "it may be that hundreds knock: nobody looks for each"
    keys.now += LOOK_INTERVAL
    assert keys.curve.is_authorized(key)
    keys.remove("second")
    assert keys.curve.is_authorized(key), "it has just been looked"
    keys.now += LOOK_INTERVAL
    assert not keys.curve.is_authorized(key)


def test_a_file_that_is_no_key_shuts_nobody_out(keys):
    key = keys.make("second")
    keys.add("second")
    (keys.folder / "half.key").write_text("metadata\n")
    keys.now += LOOK_INTERVAL
    with capture_logs() as lines:
        assert not keys.curve.is_authorized(key)
    assert [line["event"] for line in lines] == ["authorized_keys_unreadable", "key_not_authorized"]
    keys.remove("half")
    keys.now += LOOK_INTERVAL
    assert keys.curve.is_authorized(key)


def test_who_is_not_let_in_is_told_of_and_a_crowd_is_not(keys):
    first, second = keys.make("first"), keys.make("second")
    with capture_logs() as lines:
        for key in (first, second, first):
            assert not keys.curve.is_authorized(key)
        assert told(lines) == [first]
        keys.now += TELL_INTERVAL
        for key in (first, second, keys.make("third")):
            assert not keys.curve.is_authorized(key)
    assert told(lines) == [first, second]


def test_a_folder_that_is_not_there_is_said_at_the_start(tmp_path):
    zmq.auth.create_certificates(tmp_path, "ours")
    with pytest.raises(ConfigError, match=r"node\.curve_authorized_keys"):
        Curve(str(tmp_path / "ours.key_secret"), str(tmp_path / "none"))


def test_without_a_folder_any_key_is_let_in(tmp_path):
    zmq.auth.create_certificates(tmp_path, "ours")
    assert Curve(str(tmp_path / "ours.key_secret"), "").is_authorized(bytes(32))
