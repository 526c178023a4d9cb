"""holdfast publish, as a shell calls it."""

import argparse
import json
import os
import shlex

import pytest
import trio

from holdfast.cli.command import add_admin_arguments
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.protocols.nodes.effects import Broadcast, Notify, pack_ids
from tests.holdfast.cli.conftest import Result, command, environment

ONE = "0000000000000001"


@pytest.fixture
def publish(serve):
    """Run it against an admin server in front of the fake Control."""

    async def publish(*arguments, stdin=b"", tokens=(), **variables):
        address = await serve(tokens=tokens)
        with trio.fail_after(60):
            done = await trio.run_process(
                [*command(["publish"]), *arguments, "--admin", address],
                env=environment(variables),
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return publish


async def test_a_text_to_a_channel(publish, control):
    assert await publish("kitchen", "dinner is ready") == (0, "1 message sent\n", "")
    assert control.published == [[Notify(b"dinner is ready", True, ["kitchen"])]]


async def test_to_clients_and_to_everybody(publish, control):
    assert (await publish("--client", ONE, "--client", "ffffffffffffffff", "hü")).status == 0
    result = await publish("--everybody", "--json", '{"a": 1}')
    assert (result.status, json.loads(result.out)) == (0, {"messages": 1})
    ids = pack_ids([1, 2**64 - 1])
    assert control.published == [[Notify("hü".encode(), True, [], ids)], [Broadcast(b'{"a": 1}', True)]]


@pytest.mark.parametrize("text", [["-"], []])
async def test_lines_of_stdin(publish, control, text):
    lines = [f"line {number}" for number in range(1200)]
    result = await publish("kitchen", *text, stdin="\n".join(lines).encode())
    assert result == (0, "1200 messages sent\n", "")
    assert [effect.payload.decode() for effects in control.published for effect in effects] == lines


async def test_no_line_at_all(publish, control):
    assert await publish("kitchen") == (0, "0 messages sent\n", "")
    assert (await publish("kitchen", stdin=b"\n\r\n")).out == "0 messages sent\n"
    assert control.published == []
    assert (await publish("kitchen", stdin=b"a\r\n\n \t\n b\n\n")).out == "2 messages sent\n"
    assert [effect.payload for effect in control.published[0]] == [b"a", b" b"]


async def test_what_is_sent_is_sent_though_that_can_not_be_written(serve, control):
    """Else a cron job would send it again."""
    for arguments in (
        ["publish", "kitchen", "x"],
        ["publish", "--json", "kitchen", "y"],
        ["kick", ONE],
        ["drain", "n-2"],
    ):
        line = [*command(arguments), "--admin", await serve()]
        full = os.open("/dev/full", os.O_WRONLY)
        with trio.fail_after(60):
            done = await trio.run_process(line, env=environment({}), stdout=full, capture_stderr=True, check=False)
        os.close(full)
        assert (done.returncode, done.stderr) == (0, b"")
    assert [effects[0].payload for effects in control.published] == [b"x", b"y"]


async def test_where_it_is_sent_to_may_be_in_the_environment(serve, control, holdfast_async):
    """As the page's others have it."""
    for variables in ({"HOLDFAST_ADMIN": await serve()}, {"HOLDFAST_ADMIN": f"http://{await serve()}/"}):
        assert await holdfast_async("publish", "kitchen", "x", **variables) == (0, "1 message sent\n", "")
        assert (await holdfast_async("nodes", **variables)).status == 0
    assert len(control.published) == 2


@pytest.mark.parametrize(("given", "is_asked"), [("h:1", "h:1"), ("", "http://127.0.0.1:7513")])
def test_a_variable_that_is_empty_is_none(monkeypatch, given, is_asked):
    monkeypatch.setenv("HOLDFAST_ADMIN", given)
    parser = argparse.ArgumentParser()
    add_admin_arguments(parser)
    assert parser.parse_args([]).admin == is_asked


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "expected a CHANNEL, --client ID or --everybody"),
        (["a", "b", "c"], "expected one text (in quotes, if it has spaces), got 2"),
        (["--everybody", "a", "b"], "with --client or --everybody, expected the text alone, got 2 words"),
        (["--everybody", "--client", ONE, "a"], "expected --client or --everybody, got both"),
        (["--client", "1", "a"], "--client: expected a client's id, a number or 16 hexadecimal digits"),
        (["a", b"\xff"], "expected a channel and a text in UTF-8"),
    ],
)
async def test_what_has_to_be_written_otherwise(publish, control, arguments, told):
    assert await publish(*arguments) == (2, "", f"holdfast: {told}\n")
    assert control.published == []


async def test_what_the_server_refuses(publish, control):
    result = await publish("a", "b", tokens=("publish:p", "read:r"))
    assert result.status == 1
    assert "wants its admin.token, or one that may publish: HOLDFAST_ADMIN_TOKEN or --token" in result.err
    result = await publish("a", "b", "--token", "publish:p", tokens=("publish:p", "read:r"))
    assert "neither admin.token nor one of admin.tokens; without its scope: of publish:TOKEN there, TOKEN" in result.err
    result = await publish("a", "b", "--token", "r", tokens=("publish:p", "read:r"))
    assert (result.status, "scope publish (status 403)" in result.err) == (1, True)
    assert (await publish("a", "b", tokens=("publish:p",), HOLDFAST_ADMIN_TOKEN="p")).status == 0
    control.fault = RequestError("no node became available", Reason.NO_NODE, 1.0)
    result = await publish("a", "b", "--timeout", "500ms")
    assert result == (1, "", "holdfast: no node became available (status 503)\n")


async def test_lines_that_are_none(publish):
    result = await publish("a", stdin=b"good\n\xff\n")
    assert (result.status, result.err) == (1, "holdfast: expected text in UTF-8 on stdin\n")
    result = await publish("a", stdin=b"x" * 1_000_000)
    assert (result.status, result.err) == (1, "holdfast: expected lines of at most 131072 bytes on stdin\n")


async def test_a_stdin_that_can_not_be_read(tmp_path):
    writable = shlex.quote(str(tmp_path / "out"))
    for redirection, told in (("<&-", "stdin, which is closed"), (f"0>{writable}", "stdin can't be read: Bad file")):
        line = shlex.join([*command(["publish"]), "kitchen", "--admin", "127.0.0.1:1"])
        with trio.fail_after(60):
            done = await trio.run_process(
                ["/bin/sh", "-c", f"exec {line} {redirection}"],
                env=environment({}), capture_stdout=True, capture_stderr=True, check=False,
            )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, b"")
        assert told in done.stderr.decode()
        assert b"Traceback" not in done.stderr
