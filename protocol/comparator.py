"""How a recomputed result is compared with a committed one: a record that a deal binds by its digest.

Only comparators that this release knows exist; a record chooses among them and sets their bounds, so nobody brings a
program of his own to judge by.

**Source**: docs/verification.md, "Comparators".
"""

import math
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from capanode.protocol import encoding
from capanode.protocol.ids import ZERO_DIGEST, Digest, Ppm

MAX_RULES: Final = 64
MAX_PATTERN_BYTES: Final = 256
MAX_TOP: Final = 65_536
WHOLE_PPM: Final = Ppm(1_000_000)
MAX_ULPS: Final = 2**31

FloatBits = int
"""A number that is not negative, as the bits of its IEEE 754 binary64: every value has one encoding."""


class Format(StrEnum):
    """How the bytes of a file become values; the last three are bare little-endian floats."""

    NPY = "npy"
    NPZ = "npz"
    JSON = "json"
    CSV = "csv"
    PNG = "png"
    F16 = "f16"
    F32 = "f32"
    F64 = "f64"


@dataclass(frozen=True, slots=True)
class Closeness:
    """Numbers agree when |a - b| <= atol + rtol * min(|a|, |b|), but for a share of them.

    Where `max_bias_ppm` is below a million, differences must not lean to one side either: of n floats that differ, the
    larger and the smaller ones are at most that share of n, and five times the root of n, apart in number.
    """

    atol: FloatBits
    rtol: FloatBits
    max_bad_ppm: Ppm
    max_bias_ppm: Ppm

    def __post_init__(self) -> None:
        _require(_is_amount(self.atol) and _is_amount(self.rtol), "a tolerance is not a finite number from zero on")
        _require(0 <= self.max_bad_ppm < WHOLE_PPM, "the share of bad values is out of range")
        _require(0 <= self.max_bias_ppm <= WHOLE_PPM, "the bias is out of range")


@dataclass(frozen=True, slots=True)
class UlpBound:
    """Floats are at most so many representable numbers apart, but for a share of them."""

    ulps: int
    max_bad_ppm: Ppm

    def __post_init__(self) -> None:
        _require(0 <= self.ulps <= MAX_ULPS, "the number of ulps is out of range")
        _require(0 <= self.max_bad_ppm < WHOLE_PPM, "the share of bad values is out of range")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The `top` values of largest magnitude lie at the same places and are about the same; others may be anything."""

    top: int
    min_overlap_ppm: Ppm
    max_exponent_ppm: Ppm
    max_mantissa: FloatBits

    def __post_init__(self) -> None:
        _require(1 <= self.top <= MAX_TOP, f"the size of a fingerprint is out of range (1 to {MAX_TOP})")
        _require(0 < self.min_overlap_ppm <= WHOLE_PPM, "the overlap is out of range")
        _require(0 <= self.max_exponent_ppm < WHOLE_PPM, "the share of other exponents is out of range")
        _require(_is_amount(self.max_mantissa), "the difference of mantissas is not a finite number from zero on")


@dataclass(frozen=True, slots=True)
class ImageBound:
    """How much pictures may differ on the average, and in any block of 8 × 8 pixels; ppm of the full range."""

    max_mean_ppm: Ppm
    max_block_ppm: Ppm

    def __post_init__(self) -> None:
        _require(0 <= self.max_mean_ppm <= self.max_block_ppm < WHOLE_PPM, "a distance of pictures is out of range")


@dataclass(frozen=True, slots=True)
class FileRule:
    """How files of a pattern are compared: by one measure, or bit by bit when it has none.

    `whole` bounds what many steps together may amount to, where `close` bounds one of them.
    """

    pattern: str
    format: Format | None = None
    close: Closeness | None = None
    whole: Closeness | None = None
    ulp: UlpBound | None = None
    fingerprint: Fingerprint | None = None
    image: ImageBound | None = None

    def __post_init__(self) -> None:
        _require(_is_pattern(self.pattern), "a pattern is no relative path with at most one **")
        measures = [self.close, self.ulp, self.fingerprint, self.image]
        chosen = sum(measure is not None for measure in measures)
        _require(chosen <= 1, "a pattern has more than one measure")
        _require((self.format is not None) == (chosen == 1), "a measure needs a format, and bytes have none")
        _require(self.whole is None or self.close is not None, "only closeness has a bound for many steps")
        _require((self.image is not None) == (self.format is Format.PNG), "pictures are compared by their distance")

    @property
    def is_exact(self) -> bool:
        """Whether files of this pattern are compared bit by bit."""
        return self.format is None


@dataclass(frozen=True, slots=True)
class Comparator:
    """Rules by pattern, the first that fits a path counts; what none fits is compared bit by bit."""

    RECORD: ClassVar[tuple[str, int]] = ("comparator", 1)

    rules: tuple[FileRule, ...]

    def __post_init__(self) -> None:
        _require(0 < len(self.rules) <= MAX_RULES, f"a comparator has 1 to {MAX_RULES} patterns")
        patterns = [rule.pattern for rule in self.rules]
        _require(len(set(patterns)) == len(patterns), "a pattern is written twice")

    def rule_for(self, path: str) -> FileRule | None:
        """The first rule whose pattern fits; None means bit by bit."""
        return next((rule for rule in self.rules if fits(rule.pattern, path)), None)


def comparator_digest(comparator: Comparator | None) -> Digest:
    """What `Rules.comparator` holds: sha256 of the record, zero where all is compared bit by bit."""
    return ZERO_DIGEST if comparator is None else encoding.digest(comparator)


def bits(value: float) -> FloatBits:
    """The bits of a number that is not negative; there is no negative zero among them."""
    return int.from_bytes(struct.pack(">d", value + 0.0), "big")


def amount(bits_: FloatBits) -> float:
    """The number that the bits spell."""
    (value,) = struct.unpack(">d", bits_.to_bytes(8, "big"))
    assert isinstance(value, float)
    return value


def fits(pattern: str, path: str) -> bool:
    """Whether a path fits: `*` is any part of a name, the name `**` any number of names; linear in both lengths."""
    wanted, names = pattern.split("/"), path.split("/")
    if "**" not in wanted:
        return len(wanted) == len(names) and all(map(_name_fits, wanted, names))
    at = wanted.index("**")
    head, tail = wanted[:at], wanted[at + 1 :]
    if len(head) + len(tail) > len(names):
        return False
    last = names[len(names) - len(tail) :]
    return all(map(_name_fits, head, names)) and all(map(_name_fits, tail, last))


def _name_fits(pattern: str, name: str) -> bool:
    first, *others = pattern.split("*")
    if not others:
        return first == name
    *inner, last = others
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in inner:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _is_pattern(pattern: str) -> bool:
    if not pattern.isprintable() or len(pattern.encode()) > MAX_PATTERN_BYTES:
        return False
    names = pattern.split("/")
    return all(name not in ("", ".", "..") for name in names) and names.count("**") <= 1


def _is_amount(bits_: FloatBits) -> bool:
    return 0 <= bits_ < 1 << 63 and math.isfinite(amount(bits_))


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
