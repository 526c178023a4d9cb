import json
import stat
import subprocess
import sys

import zmq
import zmq.auth

from holdfast.proxy.config import load


def test_keys_fit_each_other_and_the_configuration(holdfast, tmp_path):
    out = tmp_path / "deep" / "keys"
    status, text, err = holdfast("keygen", "--out", out)
    assert (status, err) == (0, "")
    file = tmp_path / "holdfast.toml"
    file.write_text(text)
    sets = ["node.bind=tcp://0.0.0.0:7510", "store.kind=redis", "cluster.pub=tcp://*:7511"]
    config = load(file, {}, sets).config  # accepted: nodes and proxies are authenticated
    public, secret = zmq.auth.load_certificate(config.node.curve_secret_key_file)
    assert zmq.curve_public(secret) == public
    authorized = zmq.auth.load_certificates(config.node.curve_authorized_keys)
    node_public, node_secret = zmq.auth.load_certificate(out / "node.key_secret")
    assert authorized == {node_public: True, public: True}  # other proxies have this one's pair
    assert zmq.curve_public(node_secret) == node_public
    assert zmq.auth.load_certificate(out / "proxy.key") == (public, None)
    assert str(out / "node.key_secret") in text
    assert str(out / "proxy.key") in text


def test_secret_keys_are_the_owners_alone(holdfast, tmp_path):
    files = json.loads(holdfast("keygen", "--json", "--out", tmp_path / "keys").out)
    modes = {name: stat.S_IMODE((tmp_path / "keys" / path).stat().st_mode) for name, path in files.items()}
    assert modes["proxy_secret_key"] == modes["node_secret_key"] == 0o600
    assert modes["proxy_public_key"] == modes["node_public_key"] == 0o644


def test_nothing_is_overwritten(holdfast, tmp_path):
    assert holdfast("keygen", "--out", tmp_path).status == 0
    before = (tmp_path / "proxy.key_secret").read_bytes()
    status, out, err = holdfast("keygen", "--out", tmp_path)
    assert (status, out) == (1, "")
    assert err == f"holdfast: {tmp_path}/proxy.key exists: keys are not overwritten, give another --out DIR\n"
    assert (tmp_path / "proxy.key_secret").read_bytes() == before


def test_a_folder_that_cannot_be_made(holdfast, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    status, _, err = holdfast("keygen", "--out", file)
    assert status == 1
    assert err.startswith("holdfast: ")
    assert err.count("\n") == 1


def test_a_working_directory_that_is_gone_is_said_in_one_line(tmp_path):
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "holdfast", "keygen"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "holdfast: keys: No such file or directory\n")
