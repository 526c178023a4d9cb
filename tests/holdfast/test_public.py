"""What is public can be asked what it is: by pydoc, an editor, a tool that reads signatures."""

import inspect
import pydoc
from types import FunctionType

import pytest

import holdfast
import holdfast.kuzzle
import holdfast.testing

NAMES = [
    (module, name)
    for module in (holdfast, holdfast.kuzzle, holdfast.testing)
    for name in getattr(module, "__all__", None) or dir(module)
    if not name.startswith("_") and getattr(getattr(module, name), "__module__", "").startswith("holdfast")
]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_signatures_and_annotations_can_be_read(module, name):
    public = getattr(module, name)
    if not callable(public):  # a value
        public = type(public)
        name = public.__name__
    assert name in pydoc.plain(pydoc.render_doc(public))
    functions = [function for _, function in inspect.getmembers(public) if isinstance(function, FunctionType)]
    for each in (public, *functions):
        inspect.signature(each)
        inspect.get_annotations(each, eval_str=True)


def test_the_names_are_all_there():
    assert {name for module, name in NAMES if module is holdfast} == set(holdfast.__all__)
