from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.close import Reason
from holdfast.proxy.events import FIELDS_OF_A_REQUEST, OF_NODES, OF_PROXIES
from holdfast.proxy.nodes.access_log import who_asked
from holdfast.proxy.reference import PAGES, WHEN, events_in, write

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name):
    """If this fails: python -m holdfast.proxy.reference docs/reference"""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_reason_says_when():
    assert set(WHEN) == set(Reason)


def test_every_event_of_the_log_has_its_meaning_and_no_other():
    assert set(events_in("proxy", "balancer")) == set(OF_PROXIES)
    assert set(events_in("node", "kuzzle")) == set(OF_NODES)


def test_the_fields_of_a_request_are_these():
    connection, pool = SimpleNamespace(id=2, protocol=HttpProtocol), SimpleNamespace(route="")
    entry = SimpleNamespace(id=1, connection=connection, event=None, pool=pool)
    assert tuple(who_asked(entry, None)) == FIELDS_OF_A_REQUEST


def test_nothing_is_ever_closed_with_1000():
    assert all(reason.websocket != 1000 for reason in Reason)


@pytest.mark.parametrize("name", [name for name in PAGES if name.endswith(".md")])
def test_every_row_of_a_table_has_its_cells(name):
    tables = [block.splitlines() for block in PAGES[name]().split("\n\n") if block.startswith("|")]
    assert tables
    for header, *rows in tables:
        assert {row.count("|") for row in rows} == {header.count("|")}


def test_pages_are_written(tmp_path):
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PAGES)
