"""Two results under a comparator: every rule that docs/verification.md states."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from capanode.proofs import compare as comparing
from capanode.proofs.compare import Comparison, Result
from capanode.proofs.formats.contents import Array
from capanode.proofs.tree import Entry, EntryType, ordered
from capanode.protocol.comparator import (
    WHOLE_PPM,
    Closeness,
    Comparator,
    FileRule,
    Fingerprint,
    Format,
    ImageBound,
    UlpBound,
    bits,
)
from capanode.protocol.ids import Digest, Ppm
from tests.proofs.test_formats import npy_bytes, npz_bytes, written

NAN, INF = float("nan"), float("inf")


def close(atol: float = 0.0, rtol: float = 0.0, bad: int = 0, bias: int = WHOLE_PPM) -> FileRule:
    return FileRule("*", Format.NPY, close=Closeness(bits(atol), bits(rtol), Ppm(bad), Ppm(bias)))


def within(ulps: int, bad: int = 0) -> FileRule:
    return FileRule("*", Format.NPY, ulp=UlpBound(ulps, Ppm(bad)))


def result(**files: bytes) -> Result:
    contents = {name.replace("__", "/"): data for name, data in files.items()}
    entries = [
        Entry(name, EntryType.FILE, 0o644, len(data), Digest(hashlib.sha256(data).digest()))
        for name, data in contents.items()
    ]
    return Result(ordered(entries), contents.__getitem__)


def reason(a: Array | list[float], b: Array | list[float], rule: FileRule) -> str:
    x, y = np.array(a), np.array(b)
    one, other = comparing.compare_arrays(x, y, rule), comparing.compare_arrays(y, x, rule)
    assert bool(one.reason) == bool(other.reason), "the order of the two results matters"
    return one.reason


# ---- rules for all of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [close(1, 1), within(1000), FileRule("*", Format.NPY, fingerprint=Fingerprint(2, WHOLE_PPM, Ppm(0), bits(1)))],
)
def test_kind_order_and_shape_have_to_be_the_same(rule: FileRule) -> None:
    ones = np.ones((2, 3), "<f4")
    for other in (ones.astype("<f8"), ones.astype(">f4"), ones.astype("<i4"), ones.reshape(3, 2), ones[:1]):
        assert reason(ones, other, rule)
    assert reason(np.zeros((0, 3)), np.zeros((0, 3)), rule) == ""
    assert reason(np.zeros((0, 3)), np.zeros((3, 0)), rule)


@pytest.mark.parametrize("rule", [close(1e300, 1, 999_999), within(2**31, 999_999)])
def test_not_a_number_and_infinities_are_equal_to_themselves_only(rule: FileRule) -> None:
    assert reason([NAN, INF, -INF, 1.0], [-NAN, INF, -INF, 1.0], rule) == ""
    for odd in (NAN, INF, -INF):
        for other in (0.0, 1e308, *({NAN, INF, -INF} - {odd})):
            if odd is not other:
                assert reason([odd, 1.0], [other, 1.0], rule)


def test_both_zeros_are_one_number() -> None:
    assert reason([0.0], [-0.0], close()) == ""
    assert reason([0.0], [-0.0], within(0)) == ""


def test_denormals_are_numbers_like_others() -> None:
    tiny = np.array([5e-324, 1e-310])
    flushed = np.zeros(2)
    assert reason(tiny, flushed, within(10))
    assert reason(tiny, flushed, close(rtol=0.5))
    assert reason(tiny, flushed, close(atol=1e-300)) == ""
    assert reason(np.array([5e-324]), np.array([-5e-324]), within(2)) == ""
    assert reason(np.array([5e-324]), np.array([-5e-324]), within(1))


@pytest.mark.parametrize("rule", [close(10, 1), within(10)])
def test_whole_numbers_and_truth_values_have_no_tolerance(rule: FileRule) -> None:
    assert reason(np.array([1, 2]), np.array([1, 3]), rule)
    assert reason(np.array([True, False]), np.array([True, True]), rule)
    assert reason(np.array([1, 2]), np.array([1, 2]), rule) == ""


def test_complex_numbers_are_two() -> None:
    a = np.array([1 + 1j, 2 + 2j])
    assert reason(a, a + 1e-9j, close(1e-8)) == ""
    assert reason(a, a + 1e-7j, close(1e-8))


# ---- closeness -------------------------------------------------------------------------------------------------------


def test_neither_side_can_widen_its_tolerance() -> None:
    assert reason([1.0], [2.0], close(rtol=0.9))
    assert reason([1.0], [2.0], close(rtol=1.0)) == ""


def test_share_of_bad_values_is_no_place_for_a_large_one() -> None:
    good = np.ones(1000)
    bad, wild = good.copy(), good.copy()
    bad[0] += 5e-3
    wild[0] += 1e3
    assert reason(good, bad, close(1e-3))
    assert reason(good, bad, close(1e-3, bad=1000)) == ""
    assert reason(good, wild, close(1e-3, bad=1000))


def test_differences_must_not_lean_to_one_side() -> None:
    good = np.random.default_rng(1).normal(size=10_000)
    noise = np.random.default_rng(2).normal(size=10_000) * 1e-6
    assert reason(good, good + noise, close(1e-3, bias=0)) == ""
    assert reason(good, good + abs(noise), close(1e-3, bias=500_000))
    assert reason(good, good + abs(noise), close(1e-3)) == ""


@given(arrays.arrays(np.float32, 20), arrays.arrays(np.float32, 20), st.sampled_from([close(1e-3, 1e-3), within(8)]))
def test_order_of_two_results_does_not_matter(a: Array, b: Array, rule: FileRule) -> None:
    reason(a, b, rule)
    assert reason(a, a, rule) == ""


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 50))
def test_ulps_count_floats_between(value: float, steps: int) -> None:
    one = np.array([value], np.float32)
    other = one.copy()
    for _ in range(steps):
        other = np.nextafter(other, np.float32(np.inf))
    if not np.isfinite(other).all():
        return
    # Between the zeros there is no step of a value, but one of numpy's.
    between = int(comparing.compare_arrays(one, other, within(2**31)).distance.ulps)
    assert between == steps


# ---- fingerprint -----------------------------------------------------------------------------------------------------


def test_fingerprint_tells_places_exponents_and_mantissas() -> None:
    rule = FileRule("*", Format.NPY, fingerprint=Fingerprint(4, Ppm(750_000), Ppm(0), bits(0.01)))
    values = np.array([8.0, -7.0, 6.0, 5.0, 1.0, 0.5])
    assert reason(values, values * 1.001, rule) == ""
    assert reason(values, values + np.array([0, 0, 0, 0, 3, 0]), rule) == ""
    assert "places" in reason(values, values[::-1].copy(), rule)
    assert "exponent" in reason(values, values * np.array([1, -1, 1, 1, 1, 1]), rule)
    assert "mantissas" in reason(values, values * 1.05, rule)
    assert reason(np.arange(3), np.arange(3), rule)


def test_fingerprint_of_ties_and_short_arrays() -> None:
    rule = FileRule("*", Format.NPY, fingerprint=Fingerprint(4, WHOLE_PPM, Ppm(0), bits(0.0)))
    assert reason([1.0] * 9, [1.0] * 9, rule) == ""
    assert reason([1.0, NAN], [1.0, NAN], rule) == ""
    assert reason([NAN, NAN], [NAN, NAN], rule) == ""
    assert reason([1.0, NAN], [NAN, 1.0], rule)


# ---- pictures --------------------------------------------------------------------------------------------------------

LOOKS = FileRule("*.png", Format.PNG, image=ImageBound(Ppm(10_000), Ppm(50_000)))


def test_pictures_look_alike_as_a_whole_and_in_every_part() -> None:
    base = np.full((64, 64, 3), 100, np.uint8)
    noisy, other, stamped = base.copy(), base + 10, base.copy()
    noisy[::2] += 2
    stamped[3:7, 3:7] = 255

    def verdict(pixels: Array) -> str:
        return comparing.compare_files(written(base, [4] * 64), written(pixels, [1] * 64), LOOKS).reason

    assert verdict(noisy) == ""
    assert "on the average" in verdict(other)
    assert "a part" in verdict(stamped)


# ---- whole results ---------------------------------------------------------------------------------------------------

BOTH = Comparator((FileRule("exact/**"), FileRule("**/*.npy", Format.NPY, close=close(1e-3).close)))


def test_files_are_compared_by_the_first_rule_that_fits() -> None:
    one, other = npy_bytes(np.ones(3)), npy_bytes(np.ones(3) + 1e-6)
    same = result(model__a=one)
    assert comparing.compare(same, same, None) == Comparison(True, ())
    near = comparing.compare(result(**{"m.npy": one}), result(**{"m.npy": other}), BOTH)
    assert near.equal
    assert near.distances[0][1].largest == pytest.approx(1e-6)
    bitwise = comparing.compare(result(**{"exact__m.npy": one}), result(**{"exact__m.npy": other}), BOTH)
    assert [(f.path, f.reason) for f in bitwise.findings] == [("exact/m.npy", "its bytes are not the same")]
    unnamed = comparing.compare(result(m=one), result(m=other), BOTH)
    assert not unnamed.equal


def test_paths_modes_and_types_have_to_be_the_same() -> None:
    one = result(a=b"1", b=b"2")
    assert [f.path for f in comparing.compare(one, result(a=b"1"), BOTH).findings] == ["b"]
    entry = one.entries[0]
    runs = Result((Entry(entry.path, entry.type, 0o755, entry.size, entry.content), one.entries[1]), one.read)
    assert [f.path for f in comparing.compare(one, runs, BOTH).findings] == ["a"]
    link = Entry("a", EntryType.LINK, 0o777, 1, entry.content)
    assert not comparing.compare(one, Result((link, one.entries[1]), one.read), BOTH).equal


def test_what_cannot_be_read_differs_with_its_reason() -> None:
    found = comparing.compare(result(**{"m.npy": b"1"}), result(**{"m.npy": b"2"}), BOTH)
    assert "no npy file" in found.findings[0].reason


def test_what_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MAX_FILE_BYTES", 10)

    def never(path: str) -> bytes:
        raise AssertionError(path)

    one, other = (Result(result(**{"m.npy": bytes([i]) * 11}).entries, never) for i in range(2))
    assert "longer" in comparing.compare(one, other, BOTH).findings[0].reason


def test_archive_names_the_array_that_differs() -> None:
    rule = FileRule("*", Format.NPZ, close=close(1e-3).close)
    one, other = npz_bytes(w=np.ones(2), b=np.zeros(2)), npz_bytes(w=np.ones(2) + 1, b=np.zeros(2))
    assert comparing.compare_files(one, other, rule).reason.startswith("w.npy: ")
    assert comparing.compare_files(one, npz_bytes(w=np.ones(2)), rule).reason


def test_findings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MAX_FINDINGS", 3)
    many = result(**{f"f{i}": b"x" for i in range(10)})
    assert len(comparing.compare(many, result(), None).findings) == 3


def test_many_steps_have_a_bound_of_their_own() -> None:
    rule = FileRule("*", Format.NPY, close=close(1e-6).close, whole=close(1e-2).close)
    a, b = npy_bytes(np.ones(2)), npy_bytes(np.ones(2) + 1e-4)
    assert comparing.compare_files(a, b, rule).reason
    assert comparing.compare_files(a, b, rule, whole=True).reason == ""


def test_large_arrays_are_looked_at_in_pieces() -> None:
    big = np.zeros(2**20 + 7, "<f4")
    other = big.copy()
    other[-1] = 1
    assert reason(big, other, close(0.5))
    assert comparing.compare_arrays(big, other, within(2**31)).distance.ulps == 0x3F800000
    stream = io.BytesIO()
    np.save(stream, big)
    assert comparing.compare_files(stream.getvalue(), npy_bytes(other), close(2)).reason == ""
