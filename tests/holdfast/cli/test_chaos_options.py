import pytest

from holdfast.cli import main

REFUSED = [
    (["--for", "soon"], "expected a time such as 500ms, 20s or 2m, got soon"),
    (["--for", "0"], "expected a time"),
    (["--clients", "0"], "expected a whole number above 0, got 0"),
    (["--rate", "inf"], "expected a number above 0, got inf"),
    (["--rate", "often"], "expected a number above 0, got often"),
    (["--nodes", "-1"], "expected a whole number above 0, got -1"),
    (["--nodes", "0"], "without --connect at least one is needed"),
    (["--fault", "kill,tickle"], "expected some of kill, freeze-node, slow, drain, restart-node, kill-proxy, "),
    (["--fault", "kill,tickle"], "freeze-proxy, skew, restart, restart-kill, or none; got tickle"),
    (["--fault", "kill,kill-proxy"], "--fault kill-proxy, kill-store, kill-together: needs --proxies 3 or more"),
    (["--fault", "kill-together", "--proxies", "2"], "needs --proxies 3 or more"),
    (["--fault", "kill-store", "--proxies", "3"], "--fault kill-store: needs --store redis"),
    (["--store", "redis"], "--store is for a cluster: see --proxies and --workers"),
    (["--store", "paper", "--proxies", "3"], "invalid choice: 'paper'"),
    (["--proxies", "3", "--connect", "127.0.0.1:1"], "--connect has no proxies of its own"),
    (["--fault", "restart", "--connect", "127.0.0.1:1"], "--connect has no proxies of its own"),
    (["--workers", "2", "--proxies", "3"], "--workers are those of one proxy"),
    (["--fault", "skew"], "--fault skew: needs a cluster"),
    (["--join", "tcp://127.0.0.1:7510"], "--join is for --connect"),
    (["--connect", "here"], "--connect: expected HOST:PORT or [IPV6]:PORT, got here"),
    (["--connect", "127.0.0.1:1", "--set", "client.backlog=3"], "--config and --set are for a proxy of its own"),
    (["--connect", "127.0.0.1:1", "--nodes", "2"], "--nodes and --join go together"),
    (["--connect", "127.0.0.1:1", "--join", "tcp://127.0.0.1:2"], "--nodes and --join go together"),
    (["--fault", "burst"], "got burst"),
    (["--overload", "3", "--burst", "100"], "--overload and --burst: one of them"),
    (["--slow", "3"], "--listeners and --slow are for --overload and --burst"),
    (["--overload", "3", "--connect", "127.0.0.1:1"], "need a proxy and nodes of its own"),
    (["--set", "no.such=key"], "no.such"),
]


def run(capsys, *arguments):
    """Status and stderr. In this process: nothing is started by what is refused."""
    try:
        status = main(["chaos", *arguments])
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_refused(capsys, arguments, told):
    status, err = run(capsys, *arguments)
    assert status == 2
    assert told in err


def test_the_clients_speak_plain_websocket(capsys, tmp_path):
    sets = []
    for key in ("certificate", "key"):
        (tmp_path / key).touch()
        sets += ["--set", f"client.tls_{key}_file={tmp_path / key}"]
    assert run(capsys, *sets) == (
        2,
        "holdfast: the built-in clients speak plain WebSocket: leave client.tls_certificate_file empty\n",
    )


def test_no_deployment_there(capsys):
    status, err = run(capsys, "--connect", "127.0.0.1:1", "--admin", "http://127.0.0.1:1")
    assert status == 1
    assert err.startswith("holdfast: no admin server answers at http://127.0.0.1:1")
