"""Every small change of a module: one comparison, condition, constant or statement that is another, or is not there.

Owns what counts as a change. Leaves out what nobody promises: log lines, docstrings, annotations, assertions, texts of
messages.
"""

import ast
from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATIONS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}
SILENT = ("log", "structlog")  # what only tells people


class Mutant(NamedTuple):
    """number: of the module's mutants, in the order of its lines. what: the change, for people."""

    number: int
    line: int
    what: str
    source: str


class Site(NamedTuple):
    """A change that is yet to be made: of the node at `index` in the order of ast.walk, by `change`."""

    index: int
    line: int
    what: str
    change: str


def mutants(source: str) -> list[Mutant]:
    """All of them, by line."""
    tree = ast.parse(source)
    return [
        Mutant(number, site.line, site.what, ast.unparse(_changed(tree, site)))
        for number, site in enumerate(_in_order(tree))
    ]


def changes(source: str) -> set[tuple[str, str]]:
    """What they change: the line as it is, and the change. Costs a hundredth of making them."""
    lines = source.splitlines()
    return {(lines[site.line - 1].strip(), site.what) for site in _in_order(ast.parse(source))}


def _in_order(tree: ast.Module) -> list[Site]:
    return sorted(_sites(tree), key=lambda site: (site.line, site.index, site.change))


def _sites(tree: ast.Module) -> Iterator[Site]:
    left_out = _left_out(tree)
    for index, node in enumerate(ast.walk(tree)):
        if index in left_out:
            continue
        for what, change in _changes(node):
            yield Site(index, node.lineno, what, change)  # type: ignore[attr-defined]


def _changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield f"{ast.unparse(node)}: {COMPARISONS[type(op)].__name__}", "compare"
        case ast.BoolOp():
            yield f"{ast.unparse(node)}: the other of and, or", "bool"
            for place in range(len(node.values)):
                yield f"{ast.unparse(node)}: without part {place + 1}", f"part {place}"
        case ast.UnaryOp(op=ast.Not()):
            yield f"{ast.unparse(node)}: without not", "not"
        case ast.BinOp(op=op) if type(op) in OPERATIONS:
            yield f"{ast.unparse(node)}: {OPERATIONS[type(op)].__name__}", "binary"
        case ast.Constant(value=bool()):
            yield f"{node.value}: {not node.value}", "constant"
        case ast.Constant(value=int()):
            yield f"{node.value}: {node.value + 1}", "constant"
        case ast.If() | ast.While() | ast.IfExp():
            yield f"if {ast.unparse(node.test)}: never", "never"
            if not isinstance(node, ast.While):
                yield f"if {ast.unparse(node.test)}: always", "always"
        case ast.Expr(value=ast.Call()) | ast.Assign() | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield f"without: {ast.unparse(node)[:80]}", "statement"
        case ast.Break() | ast.Continue():
            yield f"without: {ast.unparse(node)}", "statement"
        case ast.Return(value=value) if value is not None and not _says_no(value):
            yield f"{ast.unparse(node)[:80]}: None", "none"


def _changed(tree: ast.Module, site: Site) -> ast.Module:
    tree = deepcopy(tree)
    nodes = list(ast.walk(tree))
    node = nodes[site.index]
    new = _new(node, site.change)
    if new is not node:
        _replace(tree, node, new)
    return ast.fix_missing_locations(tree)


def _new(node: ast.AST, change: str) -> ast.AST:
    """The changed node: the same object, or another in its place."""
    kind, _, place = change.partition(" ")
    match node:
        case ast.Compare() if kind == "compare":
            node.ops = [COMPARISONS[type(node.ops[0])]()]
        case ast.BoolOp() if kind == "bool":
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.BoolOp():
            node.values = [value for at, value in enumerate(node.values) if at != int(place)]
            return node.values[0] if len(node.values) == 1 else node
        case ast.UnaryOp():
            return node.operand
        case ast.BinOp():
            node.op = OPERATIONS[type(node.op)]()
        case ast.Constant():
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
        case ast.If() | ast.While() | ast.IfExp():
            node.test = ast.Constant(kind == "always")
        case ast.Return():
            node.value = ast.Constant(None)
        case _:
            return ast.Pass()
    return node


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list) and any(each is old for each in value):
                value[:] = [new if each is old else each for each in value]
                return


def _left_out(tree: ast.Module) -> set[int]:
    """Places in the order of ast.walk: texts, annotations, log lines, and what is not within a function."""
    order = {id(node): index for index, node in enumerate(ast.walk(tree))}
    kept: set[int] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                _keep(statement, order, kept)
    return set(order.values()) - kept


def _keep(node: ast.AST, order: dict[int, int], kept: set[int]) -> None:
    if isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.Assert) or _is_silent(node):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            _keep(node.value, order, kept)
        return
    if isinstance(node, ast.Raise):
        kept.add(order[id(node)])  # the raising, not what it says
        return
    kept.add(order[id(node)])
    for child in ast.iter_child_nodes(node):
        _keep(child, order, kept)


def _is_silent(node: ast.AST) -> bool:
    """A log line."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return False
    return isinstance(call.func.value, ast.Name) and call.func.value.id in SILENT


def _says_no(node: ast.AST) -> bool:
    """None, or False: to whoever asks None says the same, and that it is True is tried by itself."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
