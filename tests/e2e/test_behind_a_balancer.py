"""The balancers' files that we write: what a client says of itself does not pass as the word of a trusted balancer."""

import os
import re
import socket
import ssl
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running
from tests.waiting import PATIENCE

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


@contextmanager
def nginx(proxy, folder):
    """nginx by the page, with TLS, in front of one proxy. Yields its port."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=example.org", "-keyout", folder / "example.org.key", "-out", folder / "example.org.pem"]
    subprocess.run(command, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        rules = NGINX.replace("/etc/ssl", str(folder)).replace("listen 443 ", f"listen 127.0.0.1:{port} ")
        rules = re.sub(r"^    server 10.0.0.12:.*\n", "", rules, flags=re.MULTILINE)
        rules = rules.replace("10.0.0.11:7512", proxy.client)
        own = "daemon off; worker_processes 1; pid nginx.pid; error_log stderr; events {}"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own_http = "access_log off; " + " ".join(f"{kind}_temp_path {kind};" for kind in kinds)
        (folder / "nginx.conf").write_text(f"{own}\nhttp {{ {own_http}\n{rules}}}\n", encoding="utf-8")
        with subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", folder, "-c", "nginx.conf"],
            env=os.environ | {"NGINX": f"{listening.fileno()};"},  # as when it replaces itself: it listens there
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield port
            finally:
                process.terminate()  # its worker goes with it


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


async def test_nginx_with_tls_holds_no_part_of_a_streamed_reply(tmp_path):
    """The next part is made only when the one before has come. Without TLS it would hold none in any case."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with trio.fail_after(PATIENCE):
        async with running() as proxy:
            with nginx(proxy, tmp_path) as port, ScriptedNode(proxy.node) as node:
                await node.join()
                client = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=trusting)
                await client.send_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
                request = await node.take(frames.HttpRequest)
                came = b""
                for part in (b"one", b"two", b"three"):
                    headers = [("content-type", "text/event-stream")]
                    node.say(frames.HttpReply(request.id, 1, part, 200, headers, more=True))
                    while part not in came:
                        came += await client.receive_some()
                await trio.aclose_forcefully(client)


def test_nginx_sets_or_removes_each_of_them():
    """It takes no patterns, so the page has their names."""
    told = set(re.findall(r"^ +proxy_set_header (\S+) ", NGINX, re.MULTILINE))
    assert {*CLAIMED, "X-Forwarded-For"} <= told
