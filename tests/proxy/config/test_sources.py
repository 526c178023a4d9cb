import pytest

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config import Config, Origin, examine, load
from holdfast.proxy.config.sources import value_of


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "holdfast.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problem(file=None, environ=None, sets=()):
    """The one line of a configuration with one fault."""
    loaded, problems = examine(file, environ or {}, sets)
    assert loaded is None
    assert len(problems) == 1
    return problems[0]


def test_nothing_given_is_all_defaults():
    loaded = load(None, {})
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {Origin("default")}


def test_the_client_section_is_what_adapters_get():
    assert isinstance(load(None, {}, ["client.max_message_bytes=5"]).config.client, Limits)


def test_later_sources_win(write):
    file = write("[client]\nmax_connections = 1\nmax_in_flight = 1\nmax_channels = 1\n")
    environ = {"HOLDFAST__CLIENT__MAX_IN_FLIGHT": "2", "holdfast__client__max_channels": "2", "PATH": "/bin"}
    loaded = load(file, environ, ["client.max_channels=3"])
    client = loaded.config.client
    assert (client.max_connections, client.max_in_flight, client.max_channels) == (1, 2, 3)
    assert loaded.origins["client.max_connections"] == Origin("file", str(file))
    assert loaded.origins["client.max_in_flight"] == Origin("env", "HOLDFAST__CLIENT__MAX_IN_FLIGHT")
    assert loaded.origins["client.max_channels"] == Origin("set")
    assert loaded.origins["client.backlog"] == Origin("default")
    assert [str(loaded.origins[f"client.{key}"]) for key in ("max_connections", "max_in_flight", "max_channels")] == [
        str(file),
        "HOLDFAST__CLIENT__MAX_IN_FLIGHT",
        "--set",
    ]


def test_the_last_set_of_a_key_wins():
    assert load(None, {}, ["log.level=debug", "log.level=error"]).config.log.level == "error"


def test_ephemeral_ports():
    sets = ["client.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*", "admin.bind=127.0.0.1:0"]
    config = load(None, {}, sets).config
    assert config.client.bind == ("127.0.0.1:0",)
    assert config.node.bind == ("tcp://127.0.0.1:*",)
    assert config.admin.bind == "127.0.0.1:0"


def test_every_form_of_value_in_a_file(write):
    config = load(
        write("""
            [client]
            bind = ["0.0.0.0:1", "[::]:2"]
            max_message_bytes = "64KiB"
            ping_interval = 0
            compression = true
            [node]
            bind = "tcp://127.0.0.1:3"
            heartbeat_interval = "100ms"
            [balance]
            policy = "sticky"
            sticky_key = "header:x-user"
        """),
        {},
    ).config
    assert config.client.bind == ("0.0.0.0:1", "[::]:2")
    assert config.client.max_message_bytes == 65536
    assert config.client.ping_interval == 0.0
    assert config.client.compression is True
    assert config.node.bind == ("tcp://127.0.0.1:3",)
    assert config.node.heartbeat_interval == 0.1
    assert (config.balance.policy, config.balance.sticky_key) == ("sticky", "header:x-user")


def test_a_wrong_value_names_key_source_expectation_and_value(write):
    file = write("[client]\nbacklog = 0\n")
    assert problem(file) == f"{file}: client.backlog: expected a whole number above 0 up to 65535, got 0"
    assert (
        problem(environ={"HOLDFAST__DRAIN__SPREAD": "soon"})
        == 'HOLDFAST__DRAIN__SPREAD: drain.spread: expected seconds, 0 or more, such as 0.5, "500ms", "10s" or "2m", '
        'got "soon"'
    )
    assert problem(sets=["log.access_log=maybe"]) == '--set: log.access_log: expected true or false, got "maybe"'
    assert problem(write("[client]\nbind.x = 1\n")) == (
        f"{file}: client.bind: expected text or a list of texts, got a table"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("client.max_message_byts", "no such key client.max_message_byts; did you mean client.max_message_bytes?"),
        ("request.pause_timeout", "no such key request.pause_timeout; it is request.stream_timeout now"),
        ("client.registry_page", "no such key client.registry_page; did you mean node.registry_page?"),
        ("clients.backlog", "no such key clients.backlog; did you mean client.backlog?"),
        ("client.zzz", "no such key client.zzz"),
    ],
)
def test_an_unknown_key_comes_with_a_guess(name, line):
    assert problem(sets=[f"{name}=1"]) == f"--set: {line}"


def test_unknown_sections_and_stray_keys_of_a_file(write):
    assert problem(write("[cliemt]\nx = 1\n")).endswith("no such section [cliemt]; did you mean client?")
    assert problem(write("client = 5\n")).endswith("expected a section [client], got 5")
    assert problem(write("backlog = 5\n")).endswith("no such section [backlog]")


@pytest.mark.parametrize(
    "variable",
    [
        "HOLDFAST__CLIENT",
        "HOLDFAST__CLIENT__",
        "HOLDFAST__CLIENT_BIND",
        "HOLDFAST_CLIENT__BIND",
        "holdfast_client__bind",
        "HOLDFAST_CLIENT__BINDD",
        "HOLDFAST_CLIENT_BIND",
        "HOLDFAST_NODE__TOKEN",
        "HOLDFAST_NODE_BIND",
    ],
)
def test_a_variable_that_names_no_key(variable):
    assert problem(environ={variable: "1"}) == f"{variable}: expected HOLDFAST__SECTION__KEY"


@pytest.mark.parametrize(
    "variable",
    [
        "HOLDFAST_NODE_NAME",
        "HOLDFAST_NODE_PROXY_KEY",
        "HOLDFAST_WORKER",
        "HOLDFAST_PORT_7512_TCP",
        "HOLDFAST_PORT__TCP",
        "HOLDFAST_",
        "MYAPP_CLIENT__BIND",
        "MYAPP_NODE_BIND",
    ],
)
def test_a_variable_that_others_read(variable):
    assert load(None, {variable: "1"}).config == Config()


@pytest.mark.parametrize("name", ["node.token", "admin.token"])
def test_a_token_has_the_variable_too_by_which_others_know_it(name):
    section, key = name.split(".")
    other, own = f"HOLDFAST_{section.upper()}_{key.upper()}", f"HOLDFAST__{section.upper()}__{key.upper()}"
    loaded = load(None, {other: "other"})
    assert (value_of(loaded.config, name), str(loaded.origins[name])) == ("other", other)
    assert value_of(load(None, {other: "other", own: "own"}).config, name) == "own"


def test_a_mask_is_no_secret():
    assert problem(sets=["node.token=********"]) == (
        "--set: node.token: expected the secret itself, got the mask of `holdfast config`"
    )
    assert load(None, {}, ["store.name=********"]).config.store.name == "********"


def test_a_file_with_a_byte_order_mark(tmp_path):
    """As some editors on Windows write it."""
    file = tmp_path / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbf[client]\nbacklog = 7\n")
    assert load(file, {}).config.client.backlog == 7


@pytest.mark.parametrize("assignment", ["client.backlog", "client=5", "=5", "", "client.=5"])
def test_a_set_that_is_no_assignment(assignment):
    assert problem(sets=[assignment]).startswith("--set: expected SECTION.KEY=VALUE, got ")


def test_what_is_no_assignment_is_cited_as_it_was_given_but_no_secret():
    assert problem(sets=["a=b=c"]).endswith("got 'a=b=c'")
    assert problem(sets=["client"]).endswith("got 'client'")
    assert problem(sets=["=5"]).endswith("got '=5'")
    assert problem(sets=["NODE_TOKEN=hush"]).endswith("got 'NODE_TOKEN=...'")
    assert len(problem(sets=["a=" + "b" * 10_000])) < 200


def test_a_file_that_cannot_be_read(tmp_path, write):
    missing = tmp_path / "none.toml"
    assert problem(missing) == f"{missing}: cannot be read: No such file or directory"
    assert "not valid TOML: " in problem(write("[client\n"))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'[node]\ntoken = "\xe9"\n')
    assert "not valid TOML: " in problem(latin)


def test_a_refused_secret_is_not_shown(write):
    line = problem(write("[node]\ntoken = 271828\n"))
    assert "271828" not in line
    assert line.endswith("node.token: expected text, got what is no text")
    assert "hush hush" not in problem(sets=["admin.token=hush hush"])
    line = problem(sets=["client.jwt_keys=0123456789abcdef0123456789abcdef", "client.jwt_algorithms=RS256"])
    assert line.endswith("expected a key for RS256 (client.jwt_algorithms), there is one for HS256")


def test_a_long_refused_value_is_cut():
    line = problem(sets=["client.bind=" + "x" * 10_000])
    assert len(line) < 200


def test_load_raises_the_first_problem_and_counts_the_others():
    with pytest.raises(ConfigError) as raised:
        load(None, {}, ["log.level=loud", "client.nope=1", "drain.spread=x"])
    assert str(raised.value) == (
        '--set: log.level: expected one of debug, info, warning, error, got "loud" (and 2 more: see `holdfast check`)'
    )


def test_tokens_with_scopes(write):
    loaded, problems = examine(write('[admin]\ntokens = ["publish:a", "read:b:c"]'), {})
    assert (problems, loaded.config.admin.tokens) == ([], ("publish:a", "read:b:c"))
    loaded, _ = examine(None, {"HOLDFAST__ADMIN__TOKENS": "publish:a, *:b"})
    assert loaded.config.admin.tokens == ("publish:a", "*:b")
    expected = "SCOPE:SECRET, SCOPE one of read, publish, operate, *, SECRET printable ASCII without spaces and commas"
    for token in ("hush", "root:hush", "read:", "read:hush hush", "read:h\u00fcsh", "read:********"):
        for name in ("tokens = [%s]", 'tokens = ["read:a", %s]'):
            file = write("[admin]\n" + name % f'"{token}"')
            assert examine(file, {}) == (None, [f"{file}: admin.tokens: expected {expected}"])
    _, problems = examine(None, {}, ["admin.tokens=********"])
    assert problems[0] == "--set: admin.tokens: expected the secret itself, got the mask of `holdfast config`"


def test_tokens_with_scopes_let_the_admin_server_leave_loopback():
    assert examine(None, {}, ["admin.bind=0.0.0.0:7513", "admin.tokens=read:a"])[1] == []


def test_a_list_as_the_file_has_it_is_said_to_be_text_here():
    loaded, problems = examine(None, {}, ['admin.tokens=["publish:x"]'])
    assert loaded is None
    assert "admin.tokens: expected text with commas between the items, and no brackets" in problems[0]
