import pytest

REFUSED = [
    (["--for", "soon"], "expected a time such as 500ms, 20s or 2m, got soon"),
    (["--for", "0"], "expected a time"),
    (["--clients", "0"], "expected a whole number above 0, got 0"),
    (["--rate", "inf"], "expected a number above 0, got inf"),
    (["--rate", "often"], "expected a number above 0, got often"),
    (["--nodes", "-1"], "expected a whole number above 0, got -1"),
    (["--nodes", "0"], "without --connect at least one is needed"),
    (["--fault", "kill,tickle"], "expected some of kill, stop, slow, drain, restart, or none; got tickle"),
    (["--join", "tcp://127.0.0.1:7510"], "--join is for --connect"),
    (["--connect", "here"], "--connect: expected HOST:PORT or [IPV6]:PORT, got here"),
    (["--connect", "127.0.0.1:1", "--set", "client.backlog=3"], "--config and --set are for a proxy of its own"),
    (["--connect", "127.0.0.1:1", "--nodes", "2"], "--nodes and --join go together"),
    (["--connect", "127.0.0.1:1", "--join", "tcp://127.0.0.1:2"], "--nodes and --join go together"),
    (["--set", "no.such=key"], "no.such"),
    (["--set", "client.tls_certificate_file=a", "--set", "client.tls_key_file=b"], ""),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_refused_with_one_line(holdfast, arguments, told):
    result = holdfast("chaos", *arguments)
    assert result.status == 2
    assert told in result.err
    assert "Traceback" not in result.err


def test_no_deployment_there(holdfast):
    result = holdfast("chaos", "--connect", "127.0.0.1:1", "--admin", "http://127.0.0.1:1")
    assert result.status == 1
    assert result.err.startswith("holdfast: no admin server answers at http://127.0.0.1:1")
