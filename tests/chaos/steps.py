"""The durable steps of node and command line, read from their code, so that a new one cannot be forgotten."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from tests.tooling.checkout import ROOT

MARKERS: Final = frozenset({"durable", "write_whole", "link_whole"})
"""Functions that take a step's name first; `write` of a database does too."""

PASS_ON: Final = frozenset({"node/fault_points.py", "node/storage/database.py", "node/storage/whole_file.py"})
"""Where these functions live: the name comes from their callers."""

RAW: Final = frozenset({"rename", "link", "replace"})
"""Calls of `os` that change what the next start finds."""

WRITERS: Final = frozenset({"write_text", "write_bytes", "symlink_to"})
"""Methods that do the same and are not even whole."""

ENGINE: Final = frozenset(
    {"create", "start", "remove", "load", "pull", "tag", "create_memory_volume", "remove_volume", "remove_image"}
)
"""Methods of the container engine that leave something behind."""


@dataclass(frozen=True, slots=True)
class Step:
    """A durable step; a part of its name that is computed stands as `*`."""

    name: str
    place: str

    def covers(self, name: str) -> bool:
        """Whether a name that was passed belongs to this place."""
        return fnmatchcase(name, self.name)


def steps(root: Path = ROOT) -> tuple[Step, ...]:
    """Every durable step under `node/`, ordered by name."""
    found = [step for file in _sources(root) for step in _in_file(root, file)]
    return tuple(sorted(found, key=lambda step: step.name))


def unmarked(root: Path = ROOT) -> list[str]:
    """Places that change the disk or the engine outside of every named step."""
    return [place for file in _sources(root) if _name(root, file) not in PASS_ON for place in _Raw(root, file).places]


def _sources(root: Path) -> list[Path]:
    return sorted((root / "node").rglob("*.py"))


def _name(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()


def _in_file(root: Path, file: Path) -> Iterator[Step]:
    if _name(root, file) in PASS_ON - {"node/storage/database.py"}:
        return
    tree = ast.parse(file.read_text("utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and (argument := _named(call)) is not None:
            place = f"{_name(root, file)}:{call.lineno}"
            for name in _texts(argument, functions, place):
                yield Step(name, place)


def _named(call: ast.Call) -> ast.expr | None:
    """The argument that names a step, if the call has one."""
    match call.func:
        case ast.Name(id=called) if called in MARKERS and call.args:
            return call.args[0]
        case ast.Attribute(attr="write", value=owner) if ast.unparse(owner).endswith("database") and call.args:
            return call.args[0]
        case ast.Attribute(attr="run_sync") if len(call.args) > 1 and ast.unparse(call.args[0]) in MARKERS:
            return call.args[1]
        case _:
            return None


def _texts(argument: ast.expr, functions: dict[str, ast.FunctionDef], place: str) -> list[str]:
    match argument:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)]
        case ast.IfExp(body=one, orelse=other):
            return [*_texts(one, functions, place), *_texts(other, functions, place)]
        case ast.Call(func=ast.Name(id=called)) if called in functions:
            returned = [node.value for node in ast.walk(functions[called]) if isinstance(node, ast.Return)]
            return [text for value in returned if value is not None for text in _texts(value, functions, place)]
        case ast.Name(id="step") if place.startswith("node/storage/database.py"):
            return []
        case _:
            raise AssertionError(f"{place}: write the step's name where it is used; {ast.unparse(argument)} hides it")


class _Raw(ast.NodeVisitor):
    """Finds what changes the disk or the engine outside of a `with durable(…)`."""

    def __init__(self, root: Path, file: Path) -> None:
        self._file = _name(root, file)
        self._depth = 0
        self.places: list[str] = []
        self.visit(ast.parse(file.read_text("utf-8")))

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        inside = any(ast.unparse(item.context_expr).startswith("durable(") for item in node.items)
        self._depth += inside
        self.generic_visit(node)
        self._depth -= inside

    visit_AsyncWith = visit_With

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = ast.unparse(node.value)
        changes = (
            (owner == "os" and node.attr in RAW)
            or node.attr in WRITERS
            or (owner.endswith("engine") and node.attr in ENGINE)
        )
        if changes and self._depth == 0:
            self.places.append(f"{self._file}:{node.lineno} {owner}.{node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        sends = [one for one in node.args if isinstance(one, ast.Constant) and one.value == "eth_sendRawTransaction"]
        if sends and self._depth == 0:
            self.places.append(f"{self._file}:{node.lineno} eth_sendRawTransaction")
        self.generic_visit(node)
