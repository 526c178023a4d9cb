import json
import socket
from contextlib import suppress

import pytest
import trio

from holdfast.proxy.admin.http import Response, as_json


@pytest.fixture
def ask(serve, holdfast_async):
    """Run a command against an admin server in front of the fake Control."""

    async def ask(*arguments, server_token="", **variables):
        address = await serve(token=server_token)
        return await holdfast_async(*arguments, "--admin", f"http://{address}", **variables)

    return ask


async def test_status(ask):
    status, out, err = await ask("status")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["ready", "yes"] in lines
    assert ["master", "n-1", "(epoch", "3)"] in lines
    assert ["in", "flight", "9"] in lines
    assert ["failover", "12.3", "ms,", "the", "last", "one"] in lines
    assert ["n-1", "chat", "ready", "3", "256", "11", "master"] in lines
    assert ["n-2", "chat", "ready", "3", "256", "12"] in lines


async def test_status_of_a_proxy_that_is_not_ready(ask, control):
    control.is_ready = False
    assert "no: draining" in (await ask("status")).out


async def test_status_as_json(ask):
    assert json.loads((await ask("status", "--json")).out)["master"] == {"node": "n-1", "epoch": 3}


async def test_status_of_a_cluster(ask):
    out = (await ask("status")).out
    lines = [line.split() for line in out.splitlines()]
    assert ["p-1", "alive", "3", "9", "100", "here"] in lines
    assert ["p-2", "alive", "3", "9", "100", "1", "2", "SIGKILL"] in lines
    assert ["p-3", "silent", "3", "9", "100"] in lines


async def test_status_of_a_proxy_that_is_alone(ask, control):
    control.is_alone = True
    out = (await ask("status")).out
    assert "PROXY" not in out
    assert "NODE" in out


async def test_nodes(ask):
    out = (await ask("nodes")).out
    assert [line.split()[0] for line in out.splitlines()] == ["NODE", "n-1", "n-2", "n/3"]
    assert len(json.loads((await ask("nodes", "--json")).out)["nodes"]) == 3


async def test_clients_and_their_next_page(ask):
    out = (await ask("clients", "--limit", "2")).out
    assert "0000000000000001  websocket  127.0.0.1:50000  61 s" in out
    assert out.endswith("--admin asks another\nmore: --after 0000000000000002\n")
    assert "at proxy p-1; 6 more are at others of its cluster" in out
    out = (await ask("clients", "--limit", "2", "--after", "0000000000000002")).out
    assert "ffffffffffffffff" in out
    assert "--after" not in out
    assert json.loads((await ask("clients", "--json", "--limit", "1")).out)["next"] == "0000000000000001"


async def test_what_a_client_chose_does_not_steer_the_terminal(ask):
    out = (await ask("clients")).out
    assert "\x1b" not in out
    assert "/[red]a\\x1b[2J" in out


async def test_drain_by_id_and_by_name(ask, control):
    assert await ask("drain", "n-2") == (0, "n-2 takes no new requests\n", "")
    assert (await ask("drain", "mail\x1b[2J")).status == 0
    assert control.drained == ["n-2", "n/3 ü"]


async def test_drain_of_an_unknown_or_ambiguous_node(ask, control):
    status, out, err = await ask("drain", "nobody")
    assert (status, out) == (1, "")
    assert err == "holdfast: no node has the id or name nobody: see `holdfast nodes`\n"
    status, _, err = await ask("drain", "chat")
    assert status == 1
    assert err == "holdfast: 2 nodes have the name chat; give one of the ids: n-1, n-2\n"
    assert control.drained == []


async def test_kick(ask, control):
    result = await ask("kick", "ffffffffffffffff", "--reason", "spam")
    assert result == (0, "ffffffffffffffff is disconnected\n", "")
    assert json.loads((await ask("kick", "0000000000000001", "--json")).out)["kicked"] is True
    assert control.kicked == [(0xFFFFFFFFFFFFFFFF, "spam"), (1, "")]


async def test_kick_of_nobody(ask):
    assert await ask("kick", "00000000000000aa") == (1, "", "holdfast: no such client (status 404)\n")
    status, _, err = await ask("kick", "../../health")
    assert status == 1
    assert "expected a client id of 16 hexadecimal digits" in err


async def test_the_token(ask):
    status, _, err = await ask("status", server_token="hush")
    assert status == 1
    assert "wants its admin.token: HOLDFAST_ADMIN_TOKEN or --token" in err
    _, _, err = await ask("status", "--token", "read:hush", server_token="hush")
    assert "the token that was given is neither admin.token nor one of admin.tokens; without its scope" in err
    assert (await ask("status", "--token", "hush", server_token="hush")).status == 0
    assert (await ask("status", "--token", "h\u00fcsh")).err.startswith("holdfast: --token: expected printable ASCII")
    assert (await ask("status", server_token="hush", HOLDFAST_ADMIN_TOKEN="hush")).status == 0


async def test_nobody_there(holdfast_async):
    with socket.socket() as bound:  # bound and not listening: nobody else can have the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        status, out, err = await holdfast_async("status", "--admin", url)
    assert (status, out) == (1, "")
    assert err == f"holdfast: no admin server answers at {url} (--admin URL): Connection refused\n"


async def test_somebody_else_there(serve, holdfast_async, nursery):
    async def answer(request):
        return Response(200, b"<html>", "text/html")

    address = await serve(answer=answer)
    status, _, err = await holdfast_async("nodes", "--admin", f"http://{address}")
    assert (status, err) == (1, f"holdfast: http://{address} is no admin server of Holdfast: status 200\n")

    greetings = [b"220 mail.example ESMTP\r\n", b"\xff\0\0\0\0\0\0\0\1\x7f", b"HTTP/3 200\r\n", b"x" * 100_000]

    async def speak_another_protocol(stream):
        with suppress(trio.BrokenResourceError):  # who does not read all of it may reset the connection
            await stream.send_all(greetings.pop())
            await stream.receive_some(1000)
        await stream.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, speak_another_protocol, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    while greetings:
        status, _, err = await holdfast_async("nodes", "--admin", url)
        assert (status, err) == (1, f"holdfast: {url} is no admin server of Holdfast: it does not speak HTTP\n")
    greetings.append(b"")
    status, _, err = await holdfast_async("nodes", "--admin", url)
    assert status == 1
    assert err.startswith(f"holdfast: no admin server answers at {url} (--admin URL): ")


@pytest.mark.parametrize("command", [["status"], ["nodes", "--json"], ["clients"], ["drain", "n-1"], ["kick", "1"]])
async def test_the_port_of_clients_and_an_application_behind_it(serve, holdfast_async, command):
    async def answer(request):
        return as_json({"ok": True})

    address = await serve(answer=answer)
    told = f"holdfast: http://{address} is no admin server of Holdfast: status 200\n"
    assert await holdfast_async(*command, "--admin", address) == (1, "", told)


async def test_an_address_as_the_ready_file_says_it(serve, holdfast_async):
    async def answer(request):
        return Response(200, b'{"proxy": "p", "elsewhere": 0, "clients": [], "next": null}', "application/json")

    status, _, err = await holdfast_async("clients", "--admin", await serve(answer=answer))
    assert (status, err) == (0, "")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:y", "http://[", "", "x:y"])
async def test_a_url_that_is_none(holdfast_async, url):
    status, _, err = await holdfast_async("status", "--admin", url)
    shown = url if "://" in url else f"http://{url}"
    assert (status, err) == (2, f"holdfast: --admin: expected HOST:PORT or http://HOST:PORT, got {shown}\n")
