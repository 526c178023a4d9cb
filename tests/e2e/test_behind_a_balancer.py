"""The balancers' files that we write: what a client says of itself does not pass as the word of a trusted balancer."""

import re
import socket
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "behind-a-balancer.md").read_text(encoding="utf-8")
[NGINX] = re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
[HAPROXY] = re.findall(r"^```haproxy\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = {"page": HAPROXY, "compose": (ROOT / "docker" / "haproxy.cfg").read_text(encoding="utf-8")}
CLAIMED = (
    *("Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Client-Cert", "X-Forwarded-Client-Cert"),
    *("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Proto", "X-Forwarded-Host"),
    *("X-Auth-Request-User", "X-Auth-Request-Email"),
)


@contextmanager
def haproxy(rules, proxy, folder):
    """HAProxy by these rules, in front of one proxy, which it does not look after. Yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rules = re.sub(r"^    bind .*$", f"    bind fd@{listening.fileno()}", rules, flags=re.MULTILINE)
        rules = re.sub(r"^    (option httpchk|default-server|server two) .*\n", "", rules, flags=re.MULTILINE)
        rules, count = re.subn(
            r"^    server(-template)? .*$", f"    server one {proxy.client}", rules, flags=re.MULTILINE
        )
        assert count == 1
        (folder / "haproxy.cfg").write_text(rules, encoding="utf-8")
        command = ["haproxy", "-db", "-f", folder / "haproxy.cfg"]
        with subprocess.Popen(command, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL) as process:
            try:
                yield f"127.0.0.1:{listening.getsockname()[1]}"
            finally:
                process.kill()


@pytest.mark.parametrize("rules", FILES.values(), ids=FILES)
async def test_what_a_client_says_of_itself_does_not_pass_as_haproxys_word(rules, tmp_path):
    claims = dict.fromkeys((*CLAIMED, "X-Forwarded-For"), "6.6.6.6")
    client = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with running(client={"trusted_peers": ("127.0.0.1",)}) as proxy, httpx.AsyncClient(transport=client) as http:
        with haproxy(rules, proxy, tmp_path) as address, ScriptedNode(proxy.node) as node:
            await node.join()
            async with trio.open_nursery() as nursery:
                headers = {"X-Mine": "a"} | claims
                nursery.start_soon(partial(http.get, f"http://{address}/", headers=headers))
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, 1, b""))
            told = {name: value for name, value in request.client.headers if value == "6.6.6.6" or name[:2] == "x-"}
            assert told == {"x-mine": "a", "x-forwarded-for": "127.0.0.2"}
            assert request.client.address == "127.0.0.2"


@pytest.mark.parametrize("rules", FILES.values(), ids=FILES)
def test_haproxy_holds_no_part_of_a_streamed_reply(rules):
    """It does so for up to 200 ms, to save packets (MSG_MORE)."""
    assert re.search("^    option http-no-delay$|^    option http-no-delay +#", rules, re.MULTILINE)


def test_nginx_sets_or_removes_each_of_them():
    """It takes no patterns, so the page has their names."""
    told = set(re.findall(r"^ +proxy_set_header (\S+) ", NGINX, re.MULTILINE))
    assert {*CLAIMED, "X-Forwarded-For"} <= told
