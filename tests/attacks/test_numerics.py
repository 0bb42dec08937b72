"""Attacks 31 to 35: results that are wrong and look close, and honest ones that look wrong."""

import random
from dataclasses import replace
from typing import Any

import cbor2
import numpy as np
import pytest

from capanode.proofs.compare import compare_arrays
from capanode.proofs.formats.contents import Array
from capanode.proofs.steering import drift, is_steered
from capanode.protocol import encoding
from capanode.protocol.comparator import Closeness, Comparator, FileRule, Format, UlpBound, bits, comparator_digest
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import ZERO_DIGEST, Digest, Ppm, Wei
from capanode.protocol.judging import Rules, VerificationClass, class_pool, rules_digest
from capanode.protocol.tariff import TARIFF
from capanode.scheduler.hardware import serves
from capanode.scheduler.judges import against_rules, class_rules
from tests.protocol.deals import SPEC
from tests.scheduler.samples import PROVIDER, demand

RTOL = 1e-5
SIZE = 4096
STEPS = 16
MAX_COHERENCE = 0.2
NAN, INF = float("nan"), float("inf")


def rule(max_bias: int = 1_000_000) -> FileRule:
    """What single precision needs: some hundred roundings."""
    return FileRule("*", Format.NPY, close=Closeness(bits(1e-7), bits(RTOL), Ppm(0), Ppm(max_bias)))


def reason(a: Array, b: Array, chosen: FileRule) -> str:
    return compare_arrays(a, b, chosen).reason


@pytest.fixture
def numbers(dice: random.Random) -> np.random.Generator:
    return np.random.default_rng(dice.getrandbits(32))


def weights(numbers: np.random.Generator, size: int = SIZE) -> Array:
    return numbers.normal(0, 1, size).astype(np.float32)


# ---- 31: steering ----------------------------------------------------------------------------------------------------


def runs(numbers: np.random.Generator, push: float) -> list[tuple[Array, Array]]:
    """Committed and recomputed states of each step: rounding noise, and a push that never changes its direction."""
    direction = np.sign(numbers.normal(0, 1, SIZE))
    found: list[tuple[Array, Array]] = []
    state = weights(numbers).astype(np.float64)
    for _ in range(STEPS):
        honest = state * (1 + numbers.normal(0, 1, SIZE) * RTOL / 20)
        state = honest + np.abs(honest) * direction * push
        found.append((state, honest))
    return found


def test_attack_31_push_inside_the_tolerance_of_each_step_is_seen_over_the_steps(numbers: np.random.Generator) -> None:
    steered = runs(numbers, RTOL / 2)
    assert all(reason(committed, honest, rule()) == "" for committed, honest in steered), "no single step shows it"
    assert is_steered(drift(steered), MAX_COHERENCE)


def test_attack_31_push_to_one_side_is_seen_in_a_single_step(numbers: np.random.Generator) -> None:
    honest = weights(numbers)
    pushed = (honest + np.abs(honest) * np.float32(RTOL / 2)).astype(np.float32)
    assert reason(pushed, honest, rule()) == ""
    assert "side" in reason(pushed, honest, rule(max_bias=100_000))


def test_attack_31_rounding_is_no_steering(numbers: np.random.Generator) -> None:
    states = [weights(numbers).astype(np.float64) for _ in range(STEPS)]
    honest = [(state * (1 + numbers.normal(0, 1, SIZE) * RTOL / 20), state) for state in states]
    assert all(reason(a, b, rule(max_bias=100_000)) == "" for a, b in honest)
    assert not is_steered(drift(honest), MAX_COHERENCE)


# ---- 32: cheaper numbers ---------------------------------------------------------------------------------------------


def to_half(a: Array) -> Array:
    half: Array = a.astype(np.float16)
    return half.astype(np.float32)


def to_brain(a: Array) -> Array:
    """bfloat16: the upper half of the bits."""
    cut: Array = (a.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return cut


def to_eight_bits(a: Array) -> Array:
    scale = np.abs(a).max() / 127
    rounded: Array = (np.round(a / scale) * scale).astype(np.float32)
    return rounded


@pytest.mark.parametrize("cheap", [to_half, to_brain, to_eight_bits, np.zeros_like, np.roll], ids=lambda f: f.__name__)
def test_attack_32_cheaper_numbers_fall_outside(cheap: object, numbers: np.random.Generator) -> None:
    honest = weights(numbers)
    wrong = np.roll(honest, 1) if cheap is np.roll else cheap(honest)  # type: ignore[operator]
    assert reason(honest, wrong, rule())
    assert reason(honest, wrong, FileRule("*", Format.NPY, ulp=UlpBound(64, Ppm(0))))


def test_attack_32_product_in_half_precision_falls_outside(numbers: np.random.Generator) -> None:
    x, w = weights(numbers, 64 * 64).reshape(64, 64), weights(numbers, 64 * 64).reshape(64, 64)
    cheap = (x.astype(np.float16) @ w.astype(np.float16)).astype(np.float32)
    assert reason((x @ w).ravel(), cheap.ravel(), rule())


# ---- 33: odd values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [rule(), FileRule("*", Format.NPY, ulp=UlpBound(2**31, Ppm(999_999)))])
@pytest.mark.parametrize("odd", [NAN, INF, -INF])
def test_attack_33_odd_value_is_equal_to_itself_only(odd: float, chosen: FileRule) -> None:
    with_odd = np.array([1.0, odd])
    assert reason(with_odd, with_odd.copy(), chosen) == ""
    for other in (0.0, 1e308, -odd if odd == odd else INF):
        assert reason(with_odd, np.array([1.0, other]), chosen)


@pytest.mark.parametrize(
    "other",
    [
        np.ones((2, 3), "<f8"),
        np.ones((2, 3), ">f4"),
        np.ones((2, 3), "<i4"),
        np.ones((3, 2), "<f4"),
        np.ones((1, 3), "<f4"),
        np.ones((0,), "<f4"),
    ],
    ids=["wider", "byte order", "whole numbers", "turned", "shorter", "empty"],
)
def test_attack_33_other_dtype_shape_or_byte_order_is_another_result(other: Array) -> None:
    assert reason(np.ones((2, 3), "<f4"), other, rule())
    assert reason(other, np.ones((2, 3), "<f4"), rule())


def test_attack_33_zeros_and_denormals_have_their_rule() -> None:
    assert reason(np.array([0.0]), np.array([-0.0]), rule()) == ""
    flushed = FileRule("*", Format.NPY, ulp=UlpBound(10, Ppm(0)))
    assert reason(np.array([1e-310]), np.array([0.0]), flushed)


# ---- 34: honest elsewhere --------------------------------------------------------------------------------------------


def test_attack_34_other_order_of_summation_stays_inside(numbers: np.random.Generator) -> None:
    x, w = weights(numbers, 64 * 256).reshape(64, 256), weights(numbers, 256 * 64).reshape(256, 64)
    scale = np.float32(1 / 16)
    one = (x @ w) * scale
    order = numbers.permutation(256)
    other = (x[:, order] @ w[order]) * scale
    closeness = Closeness(bits(1e-5), bits(RTOL), Ppm(0), Ppm(1_000_000))
    assert one.tobytes() != other.tobytes(), "the machines differ in the last digits"
    assert reason(one.ravel(), other.ravel(), FileRule("*", Format.NPY, close=closeness)) == ""


def test_attack_34_arbiters_of_another_class_judge_nobody() -> None:
    plain = demand()
    fee = TARIFF.arbiter_fee_up_wei(plain.price_cap_wei, plain.step_limit)
    wanted = demand(rules=class_rules(SPEC, "x86_64-v3", plain.audit_rate_ppm, fee))
    assert against_rules(wanted, "x86_64-v3", PROVIDER, has_court=True, can_judge=True) == ()
    (refusal,) = against_rules(wanted, "aarch64", PROVIDER, has_court=True, can_judge=True)
    assert "others than the arbiters of aarch64" in refusal.sentence
    assert class_pool("x86_64-v3") != class_pool("x86_64-v4")
    assert not serves("x86_64-v4", "x86_64-v3", VerificationClass.EXACT)


# ---- 35: comparators of an attacker ----------------------------------------------------------------------------------

COMPARATOR = Comparator((rule(),))


def tolerant(comparator: Digest) -> Rules:
    exact = class_rules(SPEC, "any", Ppm(1), Wei(1))
    return replace(exact, verification=VerificationClass.TOLERANCE, comparator=comparator)


def plain() -> Any:
    """The record as what it is made of: its name, its version, its fields."""
    return cbor2.loads(encoding.encode(COMPARATOR))


def read(value: Any) -> Comparator:
    return encoding.decode(Comparator, encoding.dump(value))


def test_attack_35_deal_binds_the_comparator_and_its_bounds() -> None:
    wide = Comparator((replace(rule(), close=Closeness(bits(1e9), bits(1.0), Ppm(0), Ppm(1_000_000))),))
    assert comparator_digest(wide) != comparator_digest(COMPARATOR)
    agreed, swapped = (tolerant(comparator_digest(one)) for one in (COMPARATOR, wide))
    assert rules_digest(agreed) != rules_digest(swapped)


def test_attack_35_program_to_compare_by_is_no_comparator() -> None:
    assert read(plain()) == COMPARATOR
    changed = plain()
    changed[2]["rules"][0]["program"] = "always equal"
    with pytest.raises(BadMessage):
        read(changed)


def test_attack_35_measure_that_this_release_does_not_know_is_refused() -> None:
    changed = plain()
    changed[2]["rules"][0]["format"] = "pickle"
    with pytest.raises(BadMessage):
        read(changed)


def test_attack_35_bit_by_bit_cannot_be_softened() -> None:
    with pytest.raises(ValueError, match="exact results need no comparator"):
        replace(class_rules(SPEC, "any", Ppm(1), Wei(1)), comparator=comparator_digest(COMPARATOR))
    with pytest.raises(ValueError, match="needs a comparator"):
        tolerant(ZERO_DIGEST)
