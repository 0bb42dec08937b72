import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import encoding
from capanode.protocol.comparator import (
    Closeness,
    Comparator,
    FileRule,
    Fingerprint,
    Format,
    ImageBound,
    UlpBound,
    amount,
    bits,
    comparator_digest,
    fits,
)
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import ZERO_DIGEST, Ppm

CLOSE = Closeness(bits(1e-6), bits(1e-5), Ppm(10), Ppm(500_000))
MIXED = Comparator(
    (
        FileRule("log/**"),
        FileRule("*.npz", Format.NPZ, close=CLOSE, whole=CLOSE),
        FileRule("**/*.f32", Format.F32, ulp=UlpBound(4, Ppm(0))),
        FileRule("logits.npy", Format.NPY, fingerprint=Fingerprint(128, Ppm(900_000), Ppm(50_000), bits(0.01))),
        FileRule("*.png", Format.PNG, image=ImageBound(Ppm(1000), Ppm(20_000))),
    )
)


def test_record_comes_back_and_has_one_digest() -> None:
    assert encoding.decode(Comparator, encoding.encode(MIXED)) == MIXED
    assert comparator_digest(None) == ZERO_DIGEST
    assert comparator_digest(MIXED).hex() == "ef58ecb3ccf5a938f5a58b274486825cade0b82ec119476b1772a73e5de021e2"


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_bits_are_the_number(value: float) -> None:
    assert amount(bits(value)) == value


def test_zero_has_one_spelling() -> None:
    assert bits(-0.0) == bits(0.0) == 0


@pytest.mark.parametrize(
    ("pattern", "path", "does"),
    [
        ("a.npy", "a.npy", True),
        ("*.npy", "a.npy", True),
        ("*.npy", "x/a.npy", False),
        ("**/*.npy", "a.npy", True),
        ("**/*.npy", "x/y/a.npy", True),
        ("x/**", "x/y/a", True),
        ("x/**", "x", True),
        ("x/**/z", "x/z", True),
        ("x/**/z", "z", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "aXbYc", True),
        ("a*bc*c", "abc", False),
        ("a*a", "a", False),
        ("*", "", True),
        ("[a]", "a", False),
    ],
)
def test_patterns(pattern: str, path: str, does: bool) -> None:
    assert fits(pattern, path) is does


def test_hostile_patterns_take_no_time() -> None:
    assert not fits("/".join(["*a" * 100] * 1 + ["**"] + ["*a*b*"] * 10), "/".join(["a" * 255] * 16))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Comparator(()),
        lambda: Comparator((FileRule("a"), FileRule("a"))),
        lambda: Comparator(tuple(FileRule(str(i)) for i in range(65))),
        lambda: FileRule(""),
        lambda: FileRule("/a"),
        lambda: FileRule("../a"),
        lambda: FileRule("**/x/**"),
        lambda: FileRule("a\n"),
        lambda: FileRule("x" * 257),
        lambda: FileRule("a", Format.NPY),
        lambda: FileRule("a", close=CLOSE),
        lambda: FileRule("a", Format.NPY, close=CLOSE, ulp=UlpBound(1, Ppm(0))),
        lambda: FileRule("a", Format.NPY, ulp=UlpBound(1, Ppm(0)), whole=CLOSE),
        lambda: FileRule("a", Format.NPY, image=ImageBound(Ppm(1), Ppm(1))),
        lambda: FileRule("a", Format.PNG, close=CLOSE),
        lambda: Closeness(bits(math.inf), 0, Ppm(0), Ppm(0)),
        lambda: Closeness(bits(1.0) | 1 << 63, 0, Ppm(0), Ppm(0)),
        lambda: Closeness(-1, 0, Ppm(0), Ppm(0)),
        lambda: Closeness(0, 0, Ppm(1_000_000), Ppm(0)),
        lambda: UlpBound(-1, Ppm(0)),
        lambda: Fingerprint(0, Ppm(1), Ppm(0), 0),
        lambda: ImageBound(Ppm(2), Ppm(1)),
    ],
)
def test_senseless_bounds_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError):  # noqa: PT011
        make()


def test_comparator_of_an_attacker_is_only_a_choice_of_ours() -> None:
    data = encoding.encode(MIXED).replace(b"cnpz", b"cpyc")
    with pytest.raises(BadMessage):
        encoding.decode(Comparator, data)
