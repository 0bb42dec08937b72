"""The one canonical encoding: records to deterministic CBOR and back.

A record is a frozen dataclass with a `RECORD` name and version. Its types are read once, so that bytes from a
stranger become either a record whose every field has the declared type, or `BadMessage`. A field whose default is None
was added to a record that exists already: it is left out while it is None, so that old bytes stay what they were.

**Source**: docs/protocol.md §1; RFC 8949 §4.2.1.
"""

import dataclasses
import enum
import hashlib
import types
import typing
from collections.abc import Callable
from functools import cache, lru_cache
from io import BytesIO
from typing import Any, ClassVar, Final, Protocol, TypeGuard, TypeVar

import cbor2

from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Digest

MAX_DEPTH: Final = 16
"""Deepest nesting that a reader accepts; records nest five deep at most."""


class BadMessage(PeerFault):
    """Bytes that are not the canonical encoding of the record that was expected."""


class Record(Protocol):
    """A frozen dataclass that is hashed, signed, stored or sent."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    RECORD: ClassVar[tuple[str, int]]


R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """The canonical bytes `[name, version, {field: value}]` of a record."""
    return _preamble(record.RECORD) + _written(record)


def digest(record: Record) -> Digest:
    """sha256 of the canonical bytes."""
    return Digest(hashlib.sha256(encode(record)).digest())


def decode(kind: type[R], data: bytes) -> R:
    """The record of this kind that `data` encodes.

    Raises:
        BadMessage: not canonical CBOR, another record or version, or a field that is missing, unknown, of
            another type, or refused by the record's own checks. The sender's fault.
    """
    name, version = kind.RECORD
    found, found_version, fields = _parts(data, f"the record {name}/{version}")
    if (found, found_version) != (name, version):
        raise BadMessage(f"expected the record {name}/{version}, got {found[:40]}/{found_version}")
    return _record_of(kind, fields)


def decode_one_of(kinds: tuple[type[R], ...], data: bytes) -> R:
    """The record that `data` encodes, whichever of `kinds` it is.

    Raises:
        BadMessage: as `decode`.
    """
    name, version, fields = _parts(data, "a record")
    for kind in kinds:
        if kind.RECORD == (name, version):
            return _record_of(kind, fields)
    raise BadMessage(f"the record {name[:40]}/{version} is not one of those expected here")


def _parts(data: bytes, expected: str) -> tuple[str, int, dict[str, Any]]:
    """Name, version and fields of a record's encoding."""
    value: Any = load(data)
    parts = value if _is_list(value) else []
    # Exact types: True is no version, although it is an int.
    if [type(part) for part in parts] != [str, int, dict]:
        raise BadMessage(f"expected {expected}, got something else")
    return parts[0], parts[1], parts[2]


def _record_of(kind: type[R], fields: dict[str, Any]) -> R:
    record = _reader(kind)(fields, kind.RECORD[0])
    assert isinstance(record, kind)
    return record


def load(data: bytes) -> object:
    """The plain value that canonical `data` encodes; refuses every other spelling of it."""
    try:
        stream = BytesIO(data)
        value = cbor2.CBORDecoder(stream).decode()
        canonical = stream.tell() == len(data) and _depth(value) <= MAX_DEPTH and _dump(value) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise BadMessage(f"not CBOR: {type(error).__name__}") from error
    if not canonical:
        raise BadMessage("not the canonical CBOR of its value")
    return value


def dump(value: object) -> bytes:
    """Canonical CBOR of plain values: int, bool, str, bytes, None, lists, tuples and text-keyed maps."""
    return _dump(value)


def _dump(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


def _depth(value: Any, level: int = 1) -> int:
    """Nesting depth; also the place where types outside the subset are refused."""
    if level > MAX_DEPTH:
        return level
    if _is_table(value):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("map keys are text")
        return max((_depth(item, level + 1) for item in value.values()), default=level)
    if _is_list(value):
        return max((_depth(item, level + 1) for item in value), default=level)
    if value is None or isinstance(value, bool | int | str | bytes):
        return level
    raise ValueError("outside the encoding's subset")


# ---- writing: by the types that the values have, each looked at once -------------------------------------------------

Writer = Callable[[Any], bytes]

MIN_KEPT_BYTES: Final = 200
"""A part as long as this is kept with its bytes: a deal's terms and spec are in every one of its states."""

MAX_KEPT: Final = 1024

_kept: dict[int, tuple[object, bytes]] = {}
"""By identity; holding the object keeps its identity from being another's. Records never change."""


def _written(value: Any) -> bytes:
    return _writers[type(value)](value)


class _Writers(dict[type[Any], Writer]):
    """The writer of each type that was met; types are few."""

    def __missing__(self, kind: type[Any]) -> Writer:
        writer = self[kind] = _writer_of(kind)
        return writer


_writers: Final = _Writers()


def _writer_of(kind: type[Any]) -> Writer:
    """A function that turns a value of exactly this type into canonical CBOR."""
    if dataclasses.is_dataclass(kind):
        return _record_writer(kind)
    if issubclass(kind, enum.Enum):
        members = {member: _dump(member.value) for member in kind}
        return members.__getitem__
    if issubclass(kind, tuple):
        return _write_tuple
    if kind is bytes:
        return _write_bytes
    if kind is str:
        return _write_text
    if kind is int:
        return _write_number
    # None, truth values, and the plain values that only tests encode.
    return _dump


def _record_writer(kind: Any) -> Writer:
    # The order of map keys: by their encoded bytes, the shorter first. Source: RFC 8949 §4.2.3.
    keys = {field.name: _write_text(field.name) for field in dataclasses.fields(kind)}
    order = sorted(keys, key=lambda name: (len(keys[name]), keys[name]))
    fields = tuple((name, keys[name]) for name in order)
    later = _later(kind)

    def write(record: Any) -> bytes:
        kept = _kept.get(id(record))
        if kept is not None:
            return kept[1]
        left_out = [name for name in later if getattr(record, name) is None]
        parts = [_head(5, len(fields) - len(left_out))]
        for name, key in fields:
            if name not in left_out:
                value = getattr(record, name)
                parts += (key, _writers[type(value)](value))
        data = b"".join(parts)
        if len(data) >= MIN_KEPT_BYTES:
            if len(_kept) >= MAX_KEPT:
                _kept.clear()
            _kept[id(record)] = (record, data)
        return data

    return write


def _later(kind: Any) -> frozenset[str]:
    """The fields that came after the record's first release."""
    return frozenset(field.name for field in dataclasses.fields(kind) if field.default is None)


def _write_tuple(value: Any) -> bytes:
    return _head(4, len(value)) + b"".join([_writers[type(item)](item) for item in value])


def _write_bytes(value: bytes) -> bytes:
    return _head(2, len(value)) + value


def _write_text(value: str) -> bytes:
    data = value.encode()
    return _head(3, len(data)) + data


def _write_number(value: int) -> bytes:
    return _head(0, value) if 0 <= value < 1 << 64 else _dump(value)


@cache
def _preamble(record: tuple[str, int]) -> bytes:
    name, version = record
    return _head(4, 3) + _dump(name) + _dump(version)


@lru_cache(1024)
def _head(major: int, argument: int) -> bytes:
    """The initial bytes of an item. Source: RFC 8949 §3."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    for extra, size in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << 8 * size:
            return bytes((major << 5 | extra,)) + argument.to_bytes(size, "big")
    return bytes((major << 5 | 27,)) + argument.to_bytes(8, "big")


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return type(value) is list


def _is_table(value: Any) -> TypeGuard[dict[Any, Any]]:
    return type(value) is dict


Reader = Callable[[Any, str], Any]


@cache
def _reader(kind: Any) -> Reader:
    """A function that turns a decoded CBOR value into `kind`, or raises `BadMessage` naming the place."""
    if hasattr(kind, "__supertype__"):
        return _reader(kind.__supertype__)
    if kind in (int, str, bytes, bool):
        return _scalar(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enumeration(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _sequence(_reader(arguments[0]))
    if origin is tuple:
        return _product(tuple(_reader(argument) for argument in arguments))
    if origin in (typing.Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _optional(_reader(inner))
    raise TypeError(f"{kind!r} has no canonical encoding")


def _scalar(kind: type) -> Reader:
    def read(value: Any, place: str) -> Any:
        if type(value) is not kind:
            raise BadMessage(f"{place} is not {kind.__name__}")
        return value

    return read


def _enumeration(kind: type[enum.Enum]) -> Reader:
    def read(value: Any, place: str) -> Any:
        if type(value) not in (str, int):
            raise BadMessage(f"{place} is not a {kind.__name__}")
        try:
            return kind(value)
        except ValueError as error:
            raise BadMessage(f"{place} is not a {kind.__name__}") from error

    return read


def _sequence(item: Reader) -> Reader:
    def read(value: Any, place: str) -> Any:
        if not _is_list(value):
            raise BadMessage(f"{place} is not a list")
        return tuple(item(element, f"{place}[{index}]") for index, element in enumerate(value))

    return read


def _product(items: tuple[Reader, ...]) -> Reader:
    def read(value: Any, place: str) -> Any:
        elements = value if _is_list(value) else []
        if len(elements) != len(items):
            raise BadMessage(f"{place} is not a list of {len(items)}")
        return tuple(item(element, place) for item, element in zip(items, elements, strict=True))

    return read


def _optional(inner: Reader) -> Reader:
    def read(value: Any, place: str) -> Any:
        return None if value is None else inner(value, place)

    return read


def _record(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    later = _later(kind)

    def read(value: Any, place: str) -> Any:
        if not _is_table(value) or value.keys() | later != readers.keys():
            raise BadMessage(f"{place} does not have exactly the fields of {kind.__name__}")
        if any(name in value and value[name] is None for name in later):
            raise BadMessage(f"{place} spells out a field that is left out while it is null")
        fields = {name: readers[name](item, f"{place}.{name}") for name, item in value.items()}
        try:
            return kind(**fields)
        except ValueError as error:
            raise BadMessage(f"{place}: {error}") from error

    return read
