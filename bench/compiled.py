"""Holdfast as a compiled wheel has it, with the hot path in C (docs/howto/compile.md): made anew when a source changed.

It lies beside the programs of c/, and not in the source tree, where it would hide each later change.
"""

import os
import shutil
import sys
from pathlib import Path

from bench.build import PROGRAMS, run

ROOT = Path(__file__).parent.parent
TREE = PROGRAMS / "holdfast"
SOURCES = ("proxy", "protocols", "balancer", "holdfast")
RECIPES = ("hatch_build.py", "pyproject.toml")


def use_compiled() -> None:
    """What is started from now on is the compiled Holdfast. Raises BenchError if it can't be made."""
    if not _is_fresh():
        shutil.rmtree(TREE, ignore_errors=True)
        install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(TREE), str(ROOT)]
        run([sys.executable, "-m", "pip", *install], HOLDFAST_COMPILE="1")
    os.environ |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{TREE}{os.pathsep}{ROOT}"}


def interpreted() -> dict[str, str]:
    """The environment of a program that is to run the sources as they are."""
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}


def is_used() -> bool:
    return str(TREE) in os.environ.get("PYTHONPATH", "").split(os.pathsep)


def _is_fresh() -> bool:
    sources = [file for package in SOURCES for file in (ROOT / package).rglob("*.py")]
    newest = max(file.stat().st_mtime for file in [*sources, *(ROOT / recipe for recipe in RECIPES)])
    return TREE.exists() and TREE.stat().st_mtime > newest
