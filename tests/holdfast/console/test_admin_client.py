from functools import partial

import pytest
import trio

from holdfast.console import admin_client
from holdfast.console.admin_client import AdminClient
from holdfast.protocols.clients.error_reply import error_reply
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError
from holdfast.proxy.admin import server
from holdfast.proxy.admin.http import Response, as_json
from holdfast.proxy.views import ClientPage, Drained, Kicked, NodeList, StatusView
from tests.proxy.conftest import control, serve

__all__ = ["control", "serve"]


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, {"ok": True}),
        (200, []),
        (200, None),
        (200, {"nodes": [{"id": "n-1"}], "clients": [{}], "node": 1, "client": "1", "next": None}),
        (404, {"error": {"message": "no such thing"}}),
        (404, {"error": {"status": 404, "message": 5}}),
        (401, {"error": "who are you?"}),
        (503, error_reply(b"", RequestError("for a client", Reason.NODE_ERROR, status=503))),
        (200, b"[" * 100_000),
        (500, b"\xff"),
    ],
)
async def test_what_no_admin_server_of_ours_answers(serve, status, content):
    """A port of clients, with an application behind it, or anything else that answers with JSON."""

    async def answer(request):
        return Response(status, content) if isinstance(content, bytes) else as_json(content, status)

    address = await serve(answer=answer)
    admin = AdminClient(address, "")
    for kind in (StatusView, NodeList, ClientPage):
        with pytest.raises(HoldfastError, match=f"^http://{address} is no admin server of Holdfast: status {status}$"):
            await trio.to_thread.run_sync(admin.get, "/", kind)
    for kind in (Drained, Kicked):
        with pytest.raises(HoldfastError, match=f"^http://{address} is no admin server of Holdfast: status {status}$"):
            await trio.to_thread.run_sync(admin.post, "/", {}, kind)


async def test_an_answer_without_the_mark_is_another_s_whatever_it_says(serve, monkeypatch):
    """As of a node that takes every path, or of the proxy for it."""
    monkeypatch.setattr(server, "MARK", ("Server", "nginx"))
    for status, answer in ((200, {"id": "n-1", "node": "draining"}), (404, {"error": {"status": 404, "message": "?"}})):

        async def say(request, answer=answer, status=status):
            return as_json(answer, status)

        address = await serve(answer=say)
        admin = AdminClient(address, "")
        for call in (partial(admin.post, "/", {}, Drained), partial(admin.text, "/metrics")):
            with pytest.raises(HoldfastError, match=f"is no admin server of Holdfast: status {status}$"):
                await trio.to_thread.run_sync(call)


async def test_who_was_reached_and_is_late_is_not_said_to_be_away(serve, monkeypatch):
    monkeypatch.setattr(admin_client, "TIMEOUT", 0.1)

    async def answer(request):
        await trio.sleep_forever()

    address = await serve(answer=answer)
    admin = AdminClient(address, "")
    with pytest.raises(HoldfastError, match=f"^http://{address} was reached, and has not answered within 0.1 s$"):
        await trio.to_thread.run_sync(admin.get, "/api/status", StatusView)


async def test_each_answer_is_read_as_what_it_was_made_of(serve, control):
    admin = AdminClient(await serve(), "")
    ask = trio.to_thread.run_sync
    assert await ask(admin.get, "/api/status", StatusView) == control.status()
    assert list((await ask(admin.get, "/api/nodes", NodeList)).nodes) == control.nodes()
    assert list((await ask(admin.get, "/api/clients", ClientPage)).clients) == control.clients(100, None)
    assert await ask(admin.post, "/api/nodes/n-1/drain", {}, Drained) == Drained("n-1", "draining")
    kicked = await ask(admin.post, "/api/clients/0000000000000001/kick", {}, Kicked)
    assert kicked == Kicked("0000000000000001", True)
    with pytest.raises(HoldfastError, match=r"^no such node \(status 404\)$"):
        await ask(admin.post, "/api/nodes/nobody/drain", {}, Drained)
