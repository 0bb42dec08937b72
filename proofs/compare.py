"""Two results of one job, file by file: equal under a comparator or not, and where not, why and how far.

Everything but the values of files that a rule names has to be equal: paths, types, modes, links, dtypes with their byte
order, shapes, memory order, whole numbers' text. Both results are a stranger's: reading is bounded and never raises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from capanode.proofs.comparators import closeness, fingerprint, image_distance, ulps
from capanode.proofs.comparators.distance import Distance, Verdict
from capanode.proofs.formats import csv_text, json_text, npy, npz, png, raw_floats
from capanode.proofs.formats.contents import MAX_FILE_BYTES, Array, Contents, Unreadable
from capanode.proofs.tree import Entry, EntryType
from capanode.protocol.comparator import Comparator, FileRule, Format

MAX_FINDINGS = 1000
"""Findings that are listed; a hostile result could cause a hundred thousand."""

Read = Callable[[str], bytes]
"""The bytes of a file of a result by its path; they are those that its entry names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One path at which two results differ, why, and how far where that can be said."""

    path: str
    reason: str
    distance: Distance | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether two results are equal under a comparator; `distances` are those of files whose bytes differ but agree."""

    equal: bool
    findings: tuple[Finding, ...]
    distances: tuple[tuple[str, Distance], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The checked entries of a result, and a way to the bytes of its files."""

    entries: Sequence[Entry]
    read: Read


def compare(a: Result, b: Result, comparator: Comparator | None, *, whole: bool = False) -> Comparison:
    """Compare two results; the order of the two does not matter to whether they are equal.

    Args:
        comparator: None compares bit by bit.
        whole: use the rules' bounds for many steps together, where they have any.
    """
    ours, theirs = {entry.path: entry for entry in a.entries}, {entry.path: entry for entry in b.entries}
    findings: list[Finding] = []
    distances: list[tuple[str, Distance]] = []
    for path in sorted(ours.keys() | theirs.keys(), key=str.encode):
        verdict = _entry(path, ours.get(path), theirs.get(path), a.read, b.read, comparator, whole)
        if verdict is None:
            continue
        if verdict.reason:
            findings.append(Finding(path, verdict.reason, verdict.distance if verdict.distance.values else None))
        elif len(distances) < MAX_FINDINGS:
            distances.append((path, verdict.distance))
        if len(findings) >= MAX_FINDINGS:
            break
    return Comparison(not findings, tuple(findings), tuple(distances))


def _entry(
    path: str,
    ours: Entry | None,
    theirs: Entry | None,
    read_ours: Read,
    read_theirs: Read,
    comparator: Comparator | None,
    whole: bool,
) -> Verdict | None:
    """The verdict on one path, None where both have the same."""
    if ours == theirs:
        return None
    if ours is None or theirs is None:
        return _differs("only one of the results has it")
    if (ours.type, ours.mode) != (theirs.type, theirs.mode):
        return _differs("type or mode are not the same")
    rule = comparator.rule_for(path) if comparator is not None and ours.type is EntryType.FILE else None
    if rule is None or rule.is_exact:
        return _differs("its bytes are not the same")
    if max(ours.size, theirs.size) > MAX_FILE_BYTES:
        return _differs(f"it is longer than {MAX_FILE_BYTES} bytes, and its bytes are not the same")
    return compare_files(read_ours(path), read_theirs(path), rule, whole=whole)


def compare_files(a: bytes, b: bytes, rule: FileRule, *, whole: bool = False) -> Verdict:
    """Compare the bytes of two files under a rule that has a measure."""
    assert rule.format is not None
    if a == b:
        return Verdict("", Distance())
    try:
        ours, theirs = contents(a, rule.format), contents(b, rule.format)
    except Unreadable as error:
        return _differs(f"it cannot be compared by its values: {error}")
    if ours.frame != theirs.frame:
        return _differs("what stands around its numbers is not the same")
    if [name for name, _ in ours.arrays] != [name for name, _ in theirs.arrays]:
        return _differs("it holds other arrays")
    worst = Verdict("", Distance())
    for (name, x), (_, y) in zip(ours.arrays, theirs.arrays, strict=True):
        verdict = compare_arrays(x, y, rule, whole=whole)
        if verdict.reason:
            return Verdict(f"{name}: {verdict.reason}" if name else verdict.reason, verdict.distance)
        worst = max(worst, verdict, key=_weight)
    return worst


def compare_arrays(a: Array, b: Array, rule: FileRule, *, whole: bool = False) -> Verdict:
    """Compare two arrays; dtype, byte order and shape have to be the same under every measure."""
    if a.dtype.str != b.dtype.str:
        return _differs(f"the dtypes are {a.dtype.str} and {b.dtype.str}")
    if a.shape != b.shape:
        return _differs(f"the shapes are {a.shape} and {b.shape}")
    if a.size == 0:
        return Verdict("", Distance())
    if rule.close is not None:
        return closeness.compare(a, b, rule.whole if whole and rule.whole is not None else rule.close)
    if rule.ulp is not None:
        return ulps.compare(a, b, rule.ulp)
    if rule.fingerprint is not None:
        return fingerprint.compare(a, b, rule.fingerprint)
    assert rule.image is not None
    return image_distance.compare(a, b, rule.image)


def contents(data: bytes, format_: Format) -> Contents:
    """What a file of this format holds.

    Raises:
        Unreadable: it is not of this format, or outside the reader's bounds. Its author's fault.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable("it is longer than a file that is read")
    match format_:
        case Format.NPY:
            return npy.read(data)
        case Format.NPZ:
            return npz.read(data)
        case Format.JSON:
            return json_text.read(data)
        case Format.CSV:
            return csv_text.read(data)
        case Format.PNG:
            return png.read(data)
        case Format.F16:
            return raw_floats.read(data, 2)
        case Format.F32:
            return raw_floats.read(data, 4)
        case Format.F64:
            return raw_floats.read(data, 8)
        case _:
            assert_never(format_)


def _differs(reason: str) -> Verdict:
    return Verdict(reason, Distance())


def _weight(verdict: Verdict) -> tuple[float, float]:
    return verdict.distance.largest_relative, verdict.distance.largest
