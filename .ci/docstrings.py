"""An extension of griffe, which reads docstrings for mkdocs (mkdocs.yml).

Owns how prose is shown: what it says of a parameter or field (`name: what it is.`) becomes an item of a list, a field's
with its type and default. Public names in it are links. A module's map, names in a column, is left out: it is for who
reads the source.
"""

import inspect
import re
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Function, Module, Object

import holdfast

COLUMNS = re.compile(r"^([\w/]+) {2,}(\S.*(?:\n {3,}.*)*)", re.MULTILINE)
ENDS = re.compile(r"(?:(?<=\.)|(?<=\. )|(?<=\n))\s*(?=(?:Raises|Returns) )")
NAME = re.compile(r"(?<!`)`(?:holdfast\.)?([A-Z]\w+)((?:\.[a-z]\w*)?)(?:\(\))?`(?!`)")


class Prose(Extension):
    def on_package(self, *, pkg: Module, **others: Any) -> None:  # noqa: ANN401 - as griffe calls it
        for module in pkg.modules.values():
            if not module.is_alias:
                self._visit(module)
        _show(pkg, {})

    def _visit(self, object: Object) -> None:
        if isinstance(object, Class):
            _show(object, _fields(object))
        elif isinstance(object, Function):
            _show(object, {parameter.name: parameter.name for parameter in object.parameters})
        else:
            _show(object, {})
        for member in object.members.values():
            if not member.is_alias:
                self._visit(member)


def _fields(class_: Class) -> dict[str, str]:
    """What the docstring of a class may speak of, and how that is shown."""
    init = class_.members.get("__init__")
    fields = {}
    if isinstance(init, Function):
        fields = {parameter.name: parameter.name for parameter in init.parameters if parameter.name != "self"}
        return {name: name for name, member in class_.members.items() if isinstance(member, Attribute)} | fields
    for name, member in class_.members.items():
        is_field = isinstance(member, Attribute) and not name.startswith("_") and "property" not in member.labels
        if is_field and member.docstring is None and "ClassVar" not in str(member.annotation or "ClassVar"):
            default = "" if member.value is None else f" = {member.value}"
            fields[name] = f"{name}: {member.annotation}{default}"
    return fields


def _comment(class_: Object, name: str) -> str:
    """What stands behind a field in its line."""
    line = class_.lines_collection[class_.filepath][class_.members[name].lineno - 1]
    return ": " + line.partition("  # ")[2] if "  # " in line else ""


def _show(object: Object, names: dict[str, str]) -> None:
    docstring = object.docstring
    told: set[str] = set()
    blocks = []
    if docstring is not None:
        parts = docstring.value.split("\n\n")
        if isinstance(object, Module):
            parts = [block for block in parts if not COLUMNS.match(block)]
        blocks = [_block(block, names, told) for block in parts]
    is_struct = isinstance(object, Class) and "__init__" not in object.members
    if is_struct and (
        untold := [f"- `{shown}`{_comment(object, name)}" for name, shown in names.items() if name not in told]
    ):
        blocks.append("\n".join(untold))
    if not blocks:
        return
    text = "\n\n".join(blocks)
    if object.path.startswith(("holdfast.node", "holdfast.testing", "holdfast.asyncio", "holdfast.protocols.errors")):
        text = NAME.sub(lambda name: _link(name, object), text)
    if docstring is None:
        object.docstring = Docstring(text, parent=object)
    else:
        docstring.value = text


def _block(block: str, names: dict[str, str], told: set[str]) -> str:
    """A paragraph, with a list of what it says of names."""
    if COLUMNS.match(block):
        told.update(name for name, _ in COLUMNS.findall(block))
        return "\n".join(f"- `{name}`: {' '.join(text.split())}" for name, text in COLUMNS.findall(block))
    if not names or block.startswith((" ", "- ")):
        return block
    one = "|".join(map(re.escape, names))
    starts = list(re.finditer(rf"(?:^|(?<=[.)] )|(?<=\n))((?:{one})(?:, (?:{one}))*):\s", block))
    if not starts:
        return block
    before, after = block[: starts[0].start()].strip(), ""
    items = []
    for start, end in zip(starts, [*(each.start() for each in starts[1:]), len(block)], strict=True):
        text = block[start.end() : end].strip()
        if end == len(block) and (over := ENDS.search(text)):
            text, after = text[: over.start()].strip(), text[over.end() :].strip()
        listed = start[1].split(", ")
        told.update(listed)
        items.append(f"- {', '.join(f'`{names[name]}`' for name in listed)}: {' '.join(text.split())}")
    return "\n\n".join(part for part in (before, "\n".join(items), after) if part)


def _link(name: re.Match[str], object: Object) -> str:
    if name[1] not in holdfast.__all__ or object.name == name[1]:
        return name[0]
    member = name[2].removeprefix(".")
    if member and not inspect.isroutine(getattr(getattr(holdfast, name[1]), member, None)):
        member = ""  # a field has no heading of its own
    return f"[{name[0]}][holdfast.{name[1]}{'.' + member if member else ''}]"
