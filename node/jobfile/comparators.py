"""The comparators of a job file: a pattern's bounds to the rule that travels with the job.

Which measure is meant follows from the bounds that are stated; the format from the pattern's ending, unless it is said.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar, assert_never

from capanode.node.jobfile import values
from capanode.node.jobfile.yaml_tree import Leaf, Node, Table
from capanode.protocol.comparator import (
    WHOLE_PPM,
    Closeness,
    FileRule,
    Fingerprint,
    Format,
    ImageBound,
    UlpBound,
    bits,
)
from capanode.protocol.ids import Ppm
from capanode.protocol.records import VerificationClass

T = TypeVar("T")

MIN_OVERLAP: Final = Ppm(900_000)
MAX_EXPONENT: Final = Ppm(50_000)
MAX_MANTISSA: Final = 0.02

_CLOSE: Final = ("atol", "rtol", "max_bad_fraction", "max_bias")
_KNOWN: Final = {
    "close": (*_CLOSE, "whole"),
    "ulp": ("ulp", "max_bad_fraction"),
    "top": ("top", "min_overlap", "max_exponent_fraction", "max_mantissa"),
    "image": ("mean", "block"),
}
_MEASURES: Final = {"atol": "close", "rtol": "close", "ulp": "ulp", "top": "top", "mean": "image", "block": "image"}

_Fields = Mapping[str, Node]


def place(chosen: VerificationClass) -> tuple[bool, bool]:
    """Whether a class needs comparators, and whether it may have them."""
    match chosen:
        case VerificationClass.TOLERANCE:
            return True, True
        case VerificationClass.REPLICATED:
            return False, True
        case VerificationClass.EXACT | VerificationClass.NONE:
            return False, False
        case _:
            assert_never(chosen)


def rule(pattern: str, node: Node) -> FileRule:
    """The rule for a pattern: `exact`, or a table of one measure's bounds.

    Raises:
        ValueError: with a sentence that lacks the pattern.
    """
    if isinstance(node, Leaf) and node.text == "exact":
        return FileRule(pattern)
    if not isinstance(node, Table):
        raise ValueError("must be exact, or a table with atol and rtol, ulp, top, or mean and block")
    fields = {key.text: value for key, value in node.pairs}
    measures = {_MEASURES[name] for name in fields if name in _MEASURES}
    if len(measures) != 1:
        raise ValueError("needs exactly one of atol and rtol, ulp, top, or mean and block")
    (measure,) = measures
    _refuse_others(fields, ("format", *_KNOWN[measure]))
    format_ = _format(pattern, fields)
    match measure:
        case "close":
            whole = fields.get("whole")
            return FileRule(pattern, format_, close=_close(fields), whole=None if whole is None else _whole(whole))
        case "ulp":
            bound = UlpBound(values.count(fields["ulp"]), _read(fields, "max_bad_fraction", values.rate_ppm, Ppm(0)))
            return FileRule(pattern, format_, ulp=bound)
        case "top":
            return FileRule(pattern, format_, fingerprint=_fingerprint(fields))
        case _:
            return FileRule(pattern, format_, image=_image(fields))


def _format(pattern: str, fields: _Fields) -> Format:
    text = values.text(fields["format"]) if "format" in fields else pattern.rpartition(".")[2]
    try:
        return Format(text)
    except ValueError:
        known = ", ".join(Format)
        raise ValueError(f"{text[:20]!r} is no format; state format: one of {known}") from None


def _close(fields: _Fields) -> Closeness:
    return Closeness(
        atol=bits(_read(fields, "atol", values.amount, 0.0)),
        rtol=bits(_read(fields, "rtol", values.amount, 0.0)),
        max_bad_ppm=_read(fields, "max_bad_fraction", values.rate_ppm, Ppm(0)),
        max_bias_ppm=_read(fields, "max_bias", values.rate_ppm, WHOLE_PPM),
    )


def _whole(node: Node) -> Closeness:
    if not isinstance(node, Table):
        raise ValueError("whole must be a table with atol and rtol")
    fields = {key.text: value for key, value in node.pairs}
    _refuse_others(fields, _CLOSE)
    if not fields.keys() & {"atol", "rtol"}:
        raise ValueError("whole needs atol or rtol")
    return _close(fields)


def _fingerprint(fields: _Fields) -> Fingerprint:
    return Fingerprint(
        top=values.count(fields["top"]),
        min_overlap_ppm=_read(fields, "min_overlap", values.rate_ppm, MIN_OVERLAP),
        max_exponent_ppm=_read(fields, "max_exponent_fraction", values.rate_ppm, MAX_EXPONENT),
        max_mantissa=bits(_read(fields, "max_mantissa", values.amount, MAX_MANTISSA)),
    )


def _image(fields: _Fields) -> ImageBound:
    if "mean" not in fields or "block" not in fields:
        raise ValueError("needs both mean and block, as shares of the full range")
    return ImageBound(values.rate_ppm(fields["mean"]), values.rate_ppm(fields["block"]))


def _read(fields: _Fields, name: str, value: Callable[[Node], T], default: T) -> T:
    if name not in fields:
        return default
    try:
        return value(fields[name])
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


def _refuse_others(fields: _Fields, known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known:
            raise ValueError(f"{name[:60]} is no field of it; the fields are {', '.join(known)}")
