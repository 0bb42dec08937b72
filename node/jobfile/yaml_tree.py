"""YAML as a tree of leaves, lists and tables with line numbers: a safe subset, bounded in size and depth.

Anchors, aliases and tags are refused, so nothing can grow or be constructed while reading. Leaves keep the text
as written (`1.10` stays `1.10`, `no` stays `no`); their kind follows YAML 1.2's core schema, as JSON Schema sees them.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from capanode.node.jobfile.problems import Problem

MAX_BYTES: Final = 256 * 1024
"""A command and an env of 64 KiB each fit four times; the parser takes about a second for as much."""

MAX_DEPTH: Final = 8
MAX_NODES: Final = 8000


@unique
class Kind(Enum):
    """What a leaf is to JSON Schema."""

    NULL = "null"
    BOOL = "boolean"
    INT = "integer"
    FLOAT = "number"
    TEXT = "string"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar as it was written."""

    line: int
    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    line: int
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are unique."""

    line: int
    pairs: "tuple[tuple[Leaf, Node], ...]"


Node = Leaf | Listing | Table


class Unreadable(Exception):
    """Text that is not in the subset; nothing after `problem` was read."""

    def __init__(self, line: int, sentence: str) -> None:
        super().__init__(sentence)
        self.problem = Problem(line, sentence)


def read(text: str) -> Node:
    """The tree of the only document in `text`.

    Raises:
        Unreadable: too large, too deep, not YAML, or outside the subset.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Unreadable(1, f"the job file is larger than {MAX_BYTES // 1024} KiB; put data in inputs")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise Unreadable(line, f"this is not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, "there is a character that YAML does not allow; remove it") from error
    if builder.root is None:
        raise Unreadable(1, "the job file is empty; it needs at least an image and a price_cap")
    return builder.root


@dataclass(slots=True)
class _Open:
    """A list or table that is being read; in a table, `items` are keys and values in turn."""

    line: int
    is_table: bool
    items: list[Node] = field(default_factory=list[Node])
    keys: set[str] = field(default_factory=set[str])


class _Builder:
    """Puts events together without recursion, so that no input can exhaust the stack."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._documents = 0
        self._nodes = 0

    def take(self, event: Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise Unreadable(line, "there is a second document; one file describes one job")
            case AliasEvent():
                raise Unreadable(line, "aliases (*name) are not allowed; write the value out")
            case NodeEvent():
                self._start(event, line)
            case MappingEndEvent() | SequenceEndEvent():
                self._close()
            case _:
                pass

    def _start(self, event: NodeEvent, line: int) -> None:
        if event.anchor is not None:
            raise Unreadable(line, "anchors (&name) are not allowed; write the value out")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unreadable(line, f"the job file has more than {MAX_NODES} values; put data in inputs")
        match event:
            case ScalarEvent():
                self._refuse_tag(event.tag, line)
                quoted = event.style is not None
                text = _text(event.value, line)
                self._add(Leaf(line, text, Kind.TEXT if quoted else _kind(text)))
            case MappingStartEvent() | SequenceStartEvent():
                self._refuse_tag(event.tag, line)
                if len(self._open) >= MAX_DEPTH:
                    raise Unreadable(line, f"this is nested deeper than {MAX_DEPTH} levels")
                self._open.append(_Open(line, isinstance(event, MappingStartEvent)))
            case _:
                raise AssertionError(event)

    def _close(self) -> None:
        done = self._open.pop()
        if not done.is_table:
            self._add(Listing(done.line, tuple(done.items)))
            return
        keys = [item for item in done.items[::2] if isinstance(item, Leaf)]
        self._add(Table(done.line, tuple(zip(keys, done.items[1::2], strict=True))))

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if parent.is_table and len(parent.items) % 2 == 0:
            if not isinstance(node, Leaf):
                raise Unreadable(node.line, "a list or table cannot be the name of a field")
            if node.text in parent.keys:
                raise Unreadable(node.line, f"{node.text[:60]!r} is written twice; keep one")
            parent.keys.add(node.text)
        parent.items.append(node)

    @staticmethod
    def _refuse_tag(tag: str | None, line: int) -> None:
        if tag is not None:
            raise Unreadable(line, f"tags ({tag[:40]}) are not allowed; write plain values")


_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _kind(text: str) -> Kind:
    for pattern, kind in ((_NULL, Kind.NULL), (_BOOL, Kind.BOOL), (_INT, Kind.INT), (_FLOAT, Kind.FLOAT)):
        if pattern.fullmatch(text):
            return kind
    return Kind.TEXT


def _text(value: str, line: int) -> str:
    """The scalar's text, with JSON's surrogate pairs put together."""
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise Unreadable(line, "there is half of a surrogate pair; write the character itself") from error
