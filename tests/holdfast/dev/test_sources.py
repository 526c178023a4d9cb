"""Which changes of a project count."""

import os

import pytest

from holdfast.dev import sources
from holdfast.dev.sources import Sources


@pytest.fixture
def project(tmp_path):
    for name in ("app.py", "shop/__init__.py", "shop/cart.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    return tmp_path


def test_a_change_is_told_once(project):
    found = Sources(project)
    assert (len(found), found.changed()) == (3, [])
    (project / "shop" / "cart.py").write_text("22\n")
    assert found.changed() == ["shop/cart.py"]
    assert found.changed() == []


def test_a_change_of_neither_size_nor_second(project):
    stat = (project / "app.py").stat()
    found = Sources(project)
    (project / "app.py").write_text("2\n")
    os.utime(project / "app.py", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert found.changed() == ["app.py"]


def test_an_older_file_in_its_place(project):
    """As of git, or of an editor that renames; its time may be any."""
    found = Sources(project)
    stat = (project / "app.py").stat()
    (project / "other").write_text("2\n")
    os.utime(project / "other", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (project / "other").rename(project / "app.py")
    assert found.changed() == ["app.py"]


def test_files_come_and_go(project):
    found = Sources(project)
    (project / "new.py").write_text("")
    (project / "app.py").unlink()
    (project / "lost.py").symlink_to("nowhere")
    assert found.changed() == ["app.py", "new.py"]


@pytest.mark.parametrize("name", ["notes.txt", ".git/x.py", "__pycache__/app.py", "node_modules/x.py", "env/lib/x.py"])
def test_what_is_no_source(project, name):
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").write_text("")
    found = Sources(project)
    (project / name).parent.mkdir(exist_ok=True, parents=True)
    (project / name).write_text("2\n")
    assert found.changed() == []


def test_there_are_not_too_many(project, monkeypatch):
    assert Sources(project).is_whole
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    found = Sources(project)
    assert (len(found), found.is_whole) == (2, False)
