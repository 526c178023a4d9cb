"""The page on publishing from outside: what it writes does what it says, with stand-ins for the frameworks."""

import asyncio  # noqa: TID251 - of those who publish
import json
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import msgspec
import pytest
import trio

from holdfast import PublishError
from holdfast.protocols.nodes.effects import Broadcast, Notify
from holdfast.proxy.admin.http import Request
from holdfast.proxy.admin.routes import ROUTES
from holdfast.proxy.config.keys import KEYS
from holdfast.proxy.config.sources import SECTIONS
from holdfast.proxy.config.values import convert
from tests.proxy.conftest import control, serve
from tests.test_docs import DOCS, python_blocks

__all__ = ["control", "serve"]

PAGE = "howto/publish-from-django-flask-cron.md"
SETTINGS, VIEWS, FLASK, ASYNCIO = python_blocks(PAGE)


@pytest.fixture
async def there(serve, monkeypatch):
    """An admin server, as the page's variables name it."""
    monkeypatch.setenv("HOLDFAST_ADMIN", await serve(tokens=("publish:p",)))
    monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", "p")


def module(monkeypatch, name, **names):
    made = ModuleType(name)
    vars(made).update(names)
    monkeypatch.setitem(sys.modules, name, made)


def run(code):
    names = {"__name__": "page"}
    exec(code, names)
    return SimpleNamespace(**names)


async def test_django(there, monkeypatch, control):
    settings = run(SETTINGS)
    module(monkeypatch, "django")
    module(monkeypatch, "django.conf", settings=settings)
    on_commit = []
    transaction = SimpleNamespace(atomic=nullcontext, on_commit=on_commit.append)
    module(monkeypatch, "django.db", transaction=transaction)
    module(monkeypatch, "django.http", JsonResponse=dict)
    orders = SimpleNamespace(create=lambda buyer: SimpleNamespace(pk=5, buyer_id=buyer))
    module(monkeypatch, "shop")
    module(monkeypatch, "shop.models", Order=SimpleNamespace(objects=orders))
    assert run(VIEWS).place(SimpleNamespace(user=7)) == {"type": "order", "id": 5}
    assert control.published == []
    [publish] = on_commit
    await trio.to_thread.run_sync(publish)
    assert control.published == [[Notify(b'{"type":"order","id":5}', True, ["orders/7"])]]
    settings.HOLDFAST.close()


async def test_flask(there, monkeypatch, control):
    request = SimpleNamespace(json={"text": "closed"})
    app = SimpleNamespace(post=lambda path: lambda view: view)
    module(monkeypatch, "flask", Flask=lambda name: app, request=request)
    page = run(FLASK)
    assert await trio.to_thread.run_sync(page.announce) == ({}, 202)
    assert control.published == [[Broadcast(b'{"type":"news","text":"closed"}', True)]]
    page.publisher.close()
    monkeypatch.setattr(control, "fault", PublishError(500, "broken"))
    body, status = await trio.to_thread.run_sync(page.announce)
    assert (set(body), status) == ({"error"}, 503)
    page.publisher.close()


async def test_asyncio(there, control):
    await trio.to_thread.run_sync(lambda: asyncio.run(run(ASYNCIO).main()))
    assert [len(effects) for effects in control.published] == [1, 3]


def test_the_configuration_and_what_curl_sends():
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    for line in ('["publish:3fGk9vLw", "read:Qm7xTz2p"]', '["publish:3fGk9vLw", "operate:3fGk9vLw"]'):
        assert line in text
        convert(json.loads(line), SECTIONS["admin"]["tokens"], KEYS["admin.tokens"])
    [publish] = [route for route in ROUTES if route.name == "publish"]
    [body] = [line.partition("'")[2].partition("'")[0] for line in text.splitlines() if line.strip().startswith("-d ")]
    msgspec.json.decode(body, type=publish.body)
    assert Request(publish.method, publish.pattern, {}).target in text
