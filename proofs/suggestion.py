"""Bounds that two results of an honest job suggest: what was seen, with room, in a round number.

A suggestion knows two runs on one machine and no cheap ones; docs/verification.md says how to choose.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from capanode.proofs.compare import compare_files, contents
from capanode.proofs.formats.contents import Contents, Unreadable
from capanode.protocol.comparator import WHOLE_PPM, Closeness, FileRule, Format, ImageBound, bits
from capanode.protocol.ids import Ppm

ROOM: Final = 10.0
"""Times the largest difference that was seen."""

MAX_RELATIVE: Final = 1e-2
"""Of the largest value: what differs by more is no rounding."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rule under which two files agree; None with the reason where none would mean anything."""

    rule: FileRule | None
    reason: str


def suggest(path: str, a: bytes, b: bytes) -> Suggestion:
    """The bounds for a file that came out differently; its format follows from its ending."""
    try:
        format_ = Format(path.rpartition(".")[2])
    except ValueError:
        return Suggestion(None, "its ending names no format whose values can be compared")
    try:
        ours, theirs = contents(a, format_), contents(b, format_)
    except Unreadable as error:
        return Suggestion(None, str(error))
    rule = _picture(path, ours, theirs) if format_ is Format.PNG else _close(path, format_, ours, theirs)
    if rule is None:
        return Suggestion(None, "its values differ by more than rounding does")
    verdict = compare_files(a, b, rule)
    return Suggestion(rule if not verdict.reason else None, verdict.reason)


def _close(path: str, format_: Format, ours: Contents, theirs: Contents) -> FileRule | None:
    absolute = scale = relative = 0.0
    for (_, x), (_, y) in zip(ours.arrays, theirs.arrays, strict=False):
        if x.shape != y.shape or x.dtype.kind not in "fc" or y.dtype != x.dtype:
            continue
        finite = np.isfinite(x) & np.isfinite(y)
        u, v = x[finite].astype(complex), y[finite].astype(complex)
        if u.size:
            size, smaller = np.abs(u - v), np.minimum(np.abs(u), np.abs(v))
            absolute, scale = max(absolute, float(size.max())), max(scale, float(smaller.max()))
            relative = max(relative, float(np.where(size > 0, size / np.maximum(smaller, 1e-300), 0.0).max()))
    if absolute > MAX_RELATIVE * scale:
        return None
    # Near zero a small absolute difference is a large relative one: then one bound for all is the tighter one.
    atol, rtol = (
        (0.0, _round_up(ROOM * relative)) if ROOM * relative <= MAX_RELATIVE else (_round_up(ROOM * absolute), 0.0)
    )
    return FileRule(path, format_, close=Closeness(bits(atol), bits(rtol), Ppm(0), WHOLE_PPM))


def _picture(path: str, ours: Contents, theirs: Contents) -> FileRule | None:
    (_, x), (_, y) = ours.arrays[0], theirs.arrays[0]
    if x.shape != y.shape or x.dtype != y.dtype:
        return None
    off = np.abs(x.astype(np.float64) - y.astype(np.float64)) / float(np.iinfo(x.dtype).max)
    mean, block = ROOM * float(off.mean()), ROOM * float(off.max())
    if mean > MAX_RELATIVE:
        return None
    whole = Ppm(min(WHOLE_PPM - 1, math.ceil(block * WHOLE_PPM)))
    return FileRule(path, Format.PNG, image=ImageBound(Ppm(math.ceil(mean * WHOLE_PPM)), whole))


def _round_up(value: float) -> float:
    """The next power of ten; nothing stays nothing."""
    return 0.0 if value == 0 else float(f"1e{math.ceil(math.log10(value))}")
