"""Floats by how many representable numbers lie between them; both zeros are one number, and denormals count singly."""

import numpy as np

from capanode.proofs.comparators.distance import Array, Distance, Verdict, is_float, pieces, same_specials, unequal
from capanode.protocol.comparator import WHOLE_PPM, UlpBound


def compare(a: Array, b: Array, bound: UlpBound) -> Verdict:
    """Whether two arrays of one shape and kind are within so many ulps of their own precision."""
    values = a.size * (2 if a.dtype.kind == "c" else 1)
    allowed = bound.max_bad_ppm * values / WHOLE_PPM
    if not is_float(a):
        found = unequal(a, b)
        return Verdict(f"{found.bad} whole numbers differ" if found.bad > allowed else "", found)
    bad, most = 0, 0
    for x, y in pieces(a, b):
        if not same_specials(x, y):
            return Verdict("NaN or infinity stands where the other has a number", Distance(values))
        finite = np.isfinite(x)
        u, v = _places(x[finite]), _places(y[finite])
        apart = np.maximum(u, v) - np.minimum(u, v)
        bad += int(np.count_nonzero(apart > bound.ulps))
        most = max(most, int(apart.max(initial=0)))
    distance = Distance(values, bad, ulps=most)
    return Verdict(f"{bad} of {values} values are more than {bound.ulps} ulp apart" if bad > allowed else "", distance)


def _places(values: Array) -> Array:
    """Each float's place in the order of all floats of its precision, from the middle of uint64 for zero."""
    size = values.dtype.itemsize
    bits = np.ascontiguousarray(values).view(f"u{size}").astype(np.uint64)
    sign = np.uint64(1 << (8 * size - 1))
    magnitude = bits & (sign - np.uint64(1))
    middle = np.uint64(1 << 63)
    return np.where(bits & sign, middle - magnitude, middle + magnitude)
