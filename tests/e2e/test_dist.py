"""What is published: the one package, beside modules of anybody that have the names of our folders."""

import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.commands import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOSTILE = ("proxy", "protocols", "balancer", "chaos", "tests", "examples")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sources, and a wheel that was made of them. Pure: what is compiled is tested in tests/test_compiled.py."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--directory", folder, cwd=ROOT, HOLDFAST_COMPILE="0")
    return folder


@pytest.mark.parametrize("kind", ["*.tar.gz", "*.whl"])
def test_it_runs_beside_modules_of_the_same_names(dist, kind, tmp_path):
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    [packages] = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    # What Holdfast needs comes from where these tests run: such a path comes last, and the .pth in it do not count.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    [archive] = dist.glob(kind)
    environment = {"HOLDFAST_COMPILE": "0"}
    install = ("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "--python", python, *install, archive, cwd=tmp_path, **environment)
    before = {path.name for path in packages.iterdir()}
    assert {name for name in before if "holdfast" in name} == {"holdfast", "holdfast_proxy-0.1.0.dist-info"}
    for name in HOSTILE:
        assert name not in before
        for folder in (packages, tmp_path):
            (folder / f"{name}.py").write_text("raise ImportError('this is not the one')", encoding="utf-8")
    assert "(interpreted)" in run(tmp_path / "venv" / "bin" / "holdfast", "--version", cwd=tmp_path)
    said = run(tmp_path / "venv" / "bin" / "holdfast", "demo", "--for", "5s", cwd=tmp_path, **environment)
    assert "Nothing was lost" in said
    (tmp_path / "app.py").write_text("import holdfast\nnode = holdfast.Node('mine')\n", encoding="utf-8")
    assert "mine" in run(python, "-c", "import app; print(app.node.name)", cwd=tmp_path)
