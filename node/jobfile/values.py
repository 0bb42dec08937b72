"""Single values of a job file: a node of the tree to a checked value, or a `ValueError` with a sentence.

The caller puts the field's name before the sentence: "price_cap: " + "must be a number".
"""

import re
import shlex
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Final, TypeVar, assert_never

from capanode.node import units
from capanode.node.addresses import address_of
from capanode.node.jobfile.job_file import CidInput, InputSource, LocalInput, UrlInput
from capanode.node.jobfile.yaml_tree import Kind, Leaf, Listing, Node, Table
from capanode.protocol.ids import UINT96_MAX, ZERO_DIGEST, Address, Cid, Digest, Ppm, Wei
from capanode.protocol.named_set import MOST_NAMED, in_order
from capanode.protocol.records import MAX_ARGUMENTS, MAX_TEXT_BYTES, Input, VerificationClass
from capanode.protocol.replicas import LEAST_REPLICAS, MOST_REPLICAS

T = TypeVar("T", int, float)

_CID: Final = re.compile(r"b[a-z2-7]{20,120}")
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_PERCENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
_NUMBERS: Final = (Kind.INT, Kind.FLOAT)


def text(node: Node) -> str:
    """A string; numbers have to be quoted, so that nothing is lost on the way."""
    if not isinstance(node, Leaf) or node.kind is not Kind.TEXT:
        raise ValueError("must be text")
    if not node.text.strip():
        raise ValueError("is empty")
    return node.text


def as_written(node: Node) -> str:
    """A string, number or truth value, as it stands in the file."""
    if not isinstance(node, Leaf) or node.kind is Kind.NULL:
        raise ValueError("must be text")
    if "\0" in node.text:
        raise ValueError("holds a NUL byte")
    return node.text


def truth(node: Node) -> bool:
    """`true` or `false`."""
    if not isinstance(node, Leaf) or node.kind is not Kind.BOOL:
        raise ValueError("must be true or false")
    return node.text.lower() == "true"


def count(node: Node) -> int:
    """A whole number that is not negative."""
    if not isinstance(node, Leaf) or node.kind is not Kind.INT or not node.text.isdecimal():
        raise ValueError("must be a whole number")
    if len(node.text) > 18:
        raise ValueError("is too large")
    return int(node.text)


def name(node: Node) -> str:
    """What the user calls the job: short, printable."""
    value = text(node)
    if len(value) > 64 or not value.isprintable():
        raise ValueError("may have 64 printable characters")
    return value


def cpu_millis(node: Node) -> int:
    """Thousandths of a CPU from `2`, `0.5` or "0.5"; exact."""
    millis = _number(node) * 1000
    if millis.denominator != 1:
        raise ValueError("is finer than a thousandth of a CPU")
    return millis.numerator


def compute_capability(node: Node) -> int:
    """Ten times the capability: `8.6` is 86."""
    tenths = _number(node) * 10
    if tenths.denominator != 1:
        raise ValueError("has one digit after the point, such as 8.6")
    return tenths.numerator


def rate_ppm(node: Node) -> Ppm:
    """A share from 0 to 1, or a percentage such as "20%"."""
    percent = _PERCENT.fullmatch(node.text) if isinstance(node, Leaf) else None
    share = _number(node) if percent is None else Fraction(percent[1]) / 100
    ppm = share * 1_000_000
    if share > 1 or ppm.denominator != 1:
        raise ValueError("is from 0 to 1 (or 0% to 100%), in steps of a millionth")
    return Ppm(ppm.numerator)


def size_bytes(node: Node) -> int:
    """Bytes from `512MiB`, "2 GiB" or a plain number of bytes."""
    return _by_units(node, units.bytes_from_size)


def seconds(node: Node) -> int:
    """Whole seconds from `10m`, `90s` or a plain number of seconds."""
    value = _by_units(node, units.seconds_from_duration)
    if value != int(value):
        raise ValueError("has to be whole seconds")
    return int(value)


def amount_wei(node: Node) -> Wei:
    """Base units from tokens; exact, positive."""
    _number(node)
    wei = units.wei_from_tokens(node.text if isinstance(node, Leaf) else "")
    if not 0 < wei <= UINT96_MAX:
        raise ValueError("has to be more than 0 and at most 79 thousand million tokens")
    return wei


def verification(node: Node) -> VerificationClass:
    """One of the classes."""
    value = text(node)
    if value not in tuple(VerificationClass):
        raise ValueError(f"{value[:40]!r} is no verification class; choose exact, tolerance, replicated or none")
    return VerificationClass(value)


def replicas(node: Node) -> int:
    """How many providers do a replicated job."""
    found = count(node)
    if not (LEAST_REPLICAS <= found <= MOST_REPLICAS and found % 2):
        raise ValueError(f"must be odd, from {LEAST_REPLICAS} to {MOST_REPLICAS}")
    return found


def arbiters(node: Node) -> tuple[Address, ...]:
    """Addresses of arbiters, in whatever order."""
    if not isinstance(node, Listing):
        raise ValueError(f"must be a list of 1 to {MOST_NAMED} addresses")
    # Before any is read: a list may be as long as the file.
    if len(node.items) > MOST_NAMED:
        raise ValueError(f"names {len(node.items)} arbiters; {MOST_NAMED} is the most")
    return in_order([address(item) for item in node.items])


def address(node: Node) -> Address:
    """An address, quoted or not."""
    return address_of(as_written(node))


def command(node: Node) -> tuple[str, ...]:
    """A list of arguments, or one line that is split as a shell would, without running one."""
    arguments = _words(node)
    if len(arguments) > MAX_ARGUMENTS:
        raise ValueError(f"has more than {MAX_ARGUMENTS} arguments")
    if sum(len(argument.encode()) for argument in arguments) > MAX_TEXT_BYTES:
        raise ValueError("is longer than 64 KiB; put data in inputs")
    return arguments


def _words(node: Node) -> tuple[str, ...]:
    match node:
        case Leaf():
            line = text(node)
            try:
                return tuple(shlex.split(line))
            except ValueError as error:
                raise ValueError(f"cannot be split into words ({error}); write it as a list") from error
        case Listing(items=items):
            return tuple(as_written(item) for item in items)
        case Table():
            raise ValueError("must be a list of arguments, or one line")
        case _:
            assert_never(node)


def input_source(node: Node) -> InputSource:
    """Where an input comes from, in its short form: a CID, or a path."""
    value = text(node)
    if "\0" in value:
        raise ValueError("holds a NUL byte")
    if _CID.fullmatch(value):
        return CidInput(Cid(value))
    if "://" in value:
        raise ValueError("is an address; write it as {url: …, sha256: …}, so that everybody gets the same bytes")
    return LocalInput(PurePosixPath(value))


def local_path(node: Node) -> LocalInput:
    """A path on this machine."""
    value = text(node)
    if "\0" in value:
        raise ValueError("holds a NUL byte")
    return LocalInput(PurePosixPath(value))


def cid(node: Node) -> CidInput:
    """A CIDv1 in base32."""
    value = text(node)
    if not _CID.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is no CID in base32 (b…)")
    return CidInput(Cid(value))


def sha256(node: Node) -> Digest:
    """64 hex digits, with or without `sha256:`."""
    found = _SHA256.fullmatch(text(node))
    if found is None:
        raise ValueError("must be 64 hex digits in lower case")
    return Digest(bytes.fromhex(found[1]))


def url_input(url: str, digest: Digest, size: int | None) -> UrlInput:
    """An https address with the digest of its bytes, as the protocol wants it."""
    Input("x", digest, 0, None, url)
    return UrlInput(url, digest, size)


def input_name(value: str) -> str:
    """A file name in `/in`, as the protocol wants it."""
    Input(value, ZERO_DIGEST, 0, Cid("b" + "a" * 58), None)
    return value


def amount(node: Node) -> float:
    """A number that is not negative, as the nearest float."""
    return float(_number(node))


def _number(node: Node) -> Fraction:
    """A number that is not negative, exactly as written."""
    if not isinstance(node, Leaf) or node.kind not in (*_NUMBERS, Kind.TEXT):
        raise ValueError("must be a number")
    try:
        value = Decimal(node.text)
    except InvalidOperation:
        raise ValueError(f"{node.text[:40]!r} is no number") from None
    # An exponent would make a short text into a number of a million digits.
    if not value.is_finite() or value < 0 or abs(value.adjusted()) > 30 or len(node.text) > 60:
        raise ValueError("is out of range")
    return Fraction(value)


def _by_units(node: Node, read: Callable[[str], T]) -> T:
    if not isinstance(node, Leaf) or node.kind in (Kind.NULL, Kind.BOOL):
        raise ValueError("must be text such as 512MiB or 10m")
    if len(node.text) > 40:
        raise ValueError("is too long")
    return read(node.text)
