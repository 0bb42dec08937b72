"""How far two arrays are apart, gathered piece by piece so that no array is copied whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PIECE: Final = 2**20
"""Values that are looked at together."""

CERTAINTY: Final = 5.0
"""Standard deviations of a fair coin that signs may be apart before they count as leaning to one side."""


@dataclass(frozen=True, slots=True)
class Distance:
    """A summary for people and logs: the count of values, how many were bad, and the largest differences.

    `lean` is positive where the first array is mostly the larger one: from -1 to 1. `ulps` is zero where it was not
    asked for.
    """

    values: int = 0
    bad: int = 0
    largest: float = 0.0
    largest_relative: float = 0.0
    ulps: int = 0
    lean: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparator says of two arrays; the reason is empty when they agree."""

    reason: str
    distance: Distance


def pieces(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
    """Both arrays flat, in runs of values at the same places: complex numbers as two, truth values as bytes."""
    flat_a, flat_b = plain(a), plain(b)
    for begin in range(0, flat_a.size, PIECE):
        yield flat_a[begin : begin + PIECE], flat_b[begin : begin + PIECE]


def plain(array: Array) -> Array:
    """The values in C order, in this machine's byte order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind == "b":
        return flat.view(np.uint8)
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    if flat.dtype.kind == "c":
        return flat.view(f"f{flat.dtype.itemsize // 2}")
    return flat


def is_float(array: Array) -> bool:
    """Whether values have a tolerance at all; whole numbers and truth values have none."""
    return array.dtype.kind in "fc"


def same_specials(a: Array, b: Array) -> bool:
    """Whether NaN and each infinity stand at the same places; NaN is equal to any NaN."""
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return False
    odd = ~finite
    return bool(np.array_equal(a[odd], b[odd], equal_nan=True))


def unequal(a: Array, b: Array) -> Distance:
    """How many whole numbers or truth values differ."""
    return Distance(a.size, sum(int(np.count_nonzero(x != y)) for x, y in pieces(a, b)))
