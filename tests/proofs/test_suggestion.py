"""Bounds suggested for two honest results hold for them, and none are suggested for what is no rounding."""

import numpy as np
import pytest

from capanode.proofs.compare import compare_files
from capanode.proofs.suggestion import suggest
from capanode.protocol.comparator import amount
from tests.proofs.test_formats import npy_bytes, npz_bytes, written

NUMBERS = np.random.default_rng(7).normal(size=1000)


@pytest.mark.parametrize("size", [1e-15, 1e-9, 1e-5])
def test_rounding_gets_bounds_with_room(size: float) -> None:
    noise = np.random.default_rng(8).normal(size=1000) * size
    one, other = npz_bytes(w=NUMBERS), npz_bytes(w=NUMBERS + noise)
    rule = suggest("model.npz", one, other).rule
    assert rule is not None
    assert rule.close is not None
    assert compare_files(one, other, rule).reason == ""
    assert amount(rule.close.atol) < 1000 * size
    assert compare_files(one, npz_bytes(w=NUMBERS * 1.1), rule).reason


@pytest.mark.parametrize(
    ("path", "one", "other", "reason"),
    [
        ("a.npy", npy_bytes(NUMBERS), npy_bytes(NUMBERS[::-1].copy()), "more than rounding"),
        ("a.npy", npy_bytes(np.arange(3)), npy_bytes(np.arange(3) + 1), "whole numbers"),
        ("a.npy", npy_bytes(NUMBERS), npy_bytes(NUMBERS[:9]), "shapes"),
        ("a.npy", npy_bytes(NUMBERS), b"nonsense", "no npy"),
        ("a.npz", npz_bytes(a=NUMBERS), npz_bytes(b=NUMBERS, c=NUMBERS), "around"),
        ("log.json", b'{"at": "10:00", "x": 0.5}', b'{"at": "10:01", "x": 0.5}', "around"),
        ("made", b"1", b"2", "ending"),
    ],
)
def test_what_is_no_rounding_gets_none(path: str, one: bytes, other: bytes, reason: str) -> None:
    found = suggest(path, one, other)
    assert found.rule is None
    assert reason in found.reason


def test_pictures_get_a_distance() -> None:
    base = np.full((16, 16, 3), 100, np.uint8)
    near, far = base.copy(), base + 90
    near[0, 0] += 1
    assert suggest("a.png", written(base, [0] * 16), written(near, [0] * 16)).rule is not None
    assert suggest("a.png", written(base, [0] * 16), written(far, [0] * 16)).rule is None
