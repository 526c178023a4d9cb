import json
import tomllib

import pytest

from holdfast.proxy.config import load


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "holdfast.toml"
    path.write_text('[node]\ntoken = "hush"\n[client]\nbind = ["127.0.0.1:1", "[::1]:2"]\nping_interval = "500ms"\n')
    return path


def test_check_of_a_good_one(holdfast, file):
    assert holdfast("check", "--config", file) == (0, "the configuration is valid\n", "")


def test_check_lists_every_problem(holdfast, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('[client]\nbacklog = "many"\n')
    status, out, err = holdfast(
        "check", "--config", file, "--set", "log.level=loud", "--set", "log.lvl=1", HOLDFAST__DRAIN__SPREAD="-1"
    )
    assert (status, err) == (2, "")
    assert [line.split(": ")[:2] for line in out.splitlines()] == [
        [str(file), "client.backlog"],
        ["HOLDFAST__DRAIN__SPREAD", "drain.spread"],
        ["--set", "log.level"],
        ["--set", "no such key log.lvl; did you mean log.level?"],
    ]


def test_check_finds_what_serve_would(holdfast, tmp_path):
    (tmp_path / "bad.key").write_text('curve\n    public-key = "abcde"\n    secret-key = "abcde"\n')
    key, protocol = f"node.curve_secret_key_file={tmp_path / 'bad.key'}", "client.protocols=gopher://127.0.0.1:0"
    status, out, _ = holdfast("check", "--set", key, "--set", protocol)
    assert status == 2
    assert [line.partition(":")[0] for line in out.splitlines()] == ["client.protocols", "node.curve_secret_key_file"]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["node.bind=tcp://[nope0:ipv4]:7510", "node.token=x"], "node.bind: "),
        (["store.kind=sqlite", "store.path=/none/store"], "store.path: expected a folder that can be written to"),
        (
            ["store.kind=redis", "store.urls=rediss://h/0?ssl_ca_certs=/none"],
            "store.urls: ssl_ca_certs: expected a file",
        ),
        (["store.kind=redis", "cluster.pub=tcp://[nope0:ipv4]:7511", "node.token=x"], "cluster.pub: "),
    ],
)
def test_check_looks_at_this_machine_as_serve_would(sets, expected, holdfast):
    status, out, _ = holdfast("check", *(part for each in sets for part in ("--set", each)))
    assert (status, out.count("\n")) == (2, 1)
    assert out.startswith(expected)


def test_check_loads_the_certificate(holdfast, tmp_path):
    """What it takes must start: a key that is another's would end the proxy."""
    (tmp_path / "no.pem").write_text("no certificate")
    tls = [f"client.tls_certificate_file={tmp_path / 'no.pem'}", f"client.tls_key_file={tmp_path / 'no.pem'}"]
    status, out, _ = holdfast("check", *(part for each in tls for part in ("--set", each)))
    assert status == 2
    assert "can't load them" in out


def test_check_as_json(holdfast):
    status, out, _ = holdfast("check", "--json", "--set", "log.lvl=1")
    assert status == 2
    assert json.loads(out) == {
        "valid": False,
        "problems": ["--set: no such key log.lvl; did you mean log.level?"],
        "warnings": [],
    }


def test_check_warns_of_a_route_that_is_never_reached(holdfast, tmp_path):
    file = tmp_path / "routes.toml"
    file.write_text('[[route]]\npath = "/a/*"\nnodes = "a"\n[[route]]\nname = "b"\npath = "/a/{b}"\nstatus = 404\n')
    line = f"{file}: [[route]]: b (route 2) is never reached: route 1 takes all that it would"
    assert holdfast("check", "--config", file) == (0, f"warning: {line}\nthe configuration is valid\n", "")
    answer = json.loads(holdfast("check", "--json", "--config", file).out)
    assert answer == {"valid": True, "problems": [], "warnings": [line]}


def test_check_warns_of_a_rule_of_channels_that_is_never_reached(holdfast, tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text('[[channel]]\nmatch = "a:*"\n[[channel]]\nmatch = "a:{id}"\n')
    line = f"{file}: [[channel]]: channel 2, a:{{id}}, is never reached: channel 1, a:*, takes all that it would"
    assert holdfast("check", "--config", file) == (0, f"warning: {line}\nthe configuration is valid\n", "")


def test_config_is_toml_that_means_the_same(holdfast, tmp_path, file):
    status, out, _ = holdfast("config", "--config", file, "--set", "log.level=debug")
    assert status == 0
    copy = tmp_path / "copy.toml"
    copy.write_text(out.replace("********", "hush"))
    assert load(copy, {}).config == load(file, {}, ["log.level=debug"]).config


def test_config_prints_routes_as_a_file_has_them(holdfast, tmp_path):
    file = tmp_path / "routes.toml"
    file.write_text(
        '[log]\nlevel = "debug"\n[[route]]\nheader = ["X-A: 1", "B: \\u00fc"]\nfield = {"a b" = true, n = 1}\n'
        'share = 5\nnodes = "*"\npolicy = "sticky"\ntimeout = "1m"\n[[route]]\nredirect = "/x"\nheaders = {X-B = "1"}\n'
    )
    copy = tmp_path / "copy.toml"
    copy.write_text(holdfast("config", "--config", file).out)
    assert load(copy, {}).config == load(file, {}).config
    first, second = json.loads(holdfast("config", "--json", "--config", file).out)["route"]
    assert (first["field"], first["timeout"], second["status"]) == ({"a b": True, "n": 1}, 60.0, 307)


def test_config_tells_where_each_value_is_from_and_no_secret(holdfast, file):
    _, out, _ = holdfast("config", "--config", file, "--set", "log.level=debug", HOLDFAST__DRAIN__SPREAD="1")
    origins = {line.split(" = ")[0]: line.split("  # ")[1] for line in out.splitlines() if "  # " in line}
    assert origins["ping_interval"] == str(file)
    assert origins["level"] == "--set"
    assert origins["spread"] == "HOLDFAST__DRAIN__SPREAD"
    assert origins["backlog"] == "default"
    assert "hush" not in out
    assert tomllib.loads(out)["node"]["token"] == "********"
    assert tomllib.loads(out)["admin"]["token"] == ""


def test_a_configuration_with_its_secrets_masked_is_not_taken(holdfast, tmp_path, file):
    copy = tmp_path / "copy.toml"
    copy.write_text(holdfast("config", "--config", file).out)
    status, out, _ = holdfast("check", "--config", copy)
    assert (status, out.count("\n")) == (2, 1)
    assert "node.token: expected the secret itself" in out


def test_config_as_json(holdfast, file):
    values = json.loads(holdfast("config", "--json", "--config", file).out)
    assert values["client.bind"] == {"value": ["127.0.0.1:1", "[::1]:2"], "source": "file", "name": str(file)}
    assert values["node.token"]["value"] == "********"
    assert values["client.backlog"] == {"value": 4096, "source": "default", "name": ""}
