"""The API reference has every public name, and each says what it is."""

import inspect
import re
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

API = Path(__file__).parents[1] / "docs" / "reference" / "api"
PACKAGES = ("holdfast", "holdfast.asyncio", "holdfast.kuzzle", "holdfast.testing")
SEAM = ("holdfast.protocols.clients.base", "holdfast.protocols.clients.events")


def found(path):
    """What a dotted path names. In holdfast.testing.alone.alone a function has the name of its module."""
    for end in range(len(parts := path.split(".")), 0, -1):
        try:
            module = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[end:], module)


TOLD = [path for page in sorted(API.glob("*.md")) for path in re.findall(r"^::: (\S+)$", page.read_text(), re.M)]
OBJECTS = {path: found(path) for path in TOLD}
NAMES = [f"{package}.{name}" for package in PACKAGES for name in import_module(package).__all__]


def defined(module):
    """The classes and functions that it has itself."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield f"{module.__name__}.{name}", value


@pytest.mark.parametrize("path", NAMES)
def test_a_public_name_is_told(path):
    package, _, name = path.rpartition(".")
    value = getattr(import_module(package), name)
    assert any(value is told for told in OBJECTS.values())


def test_the_reference_tells_public_names_once_and_modules_of_the_seam():
    assert len(set(TOLD)) == len(TOLD)
    modules = {path for path, value in OBJECTS.items() if isinstance(value, ModuleType)}
    assert modules == {"holdfast.testing", *SEAM}  # of holdfast.testing only what it says itself


def members(path, value):
    """What a reader sees of it: itself, and of a class its own functions and properties and those it has from us."""
    yield path, value
    if inspect.isclass(value):
        for class_ in value.__mro__:
            if class_.__module__.startswith("holdfast."):
                for name, member in vars(class_).items():
                    if not name.startswith("_") and isinstance(member, property | classmethod | FunctionType):
                        yield f"{path}.{name}", member


def test_everything_in_it_says_what_it_is():
    told = [(path, value) for path, value in OBJECTS.items() if not isinstance(value, ModuleType)]
    told += [pair for name in SEAM for pair in defined(import_module(name))]
    silent = {path for name, value in told for path, member in members(name, value) if not inspect.getdoc(member)}
    assert silent == set()
