"""The division of a run names tests that there are, and keeps together what belongs together."""

from itertools import pairwise

import pytest

from tests import division
from tests.tooling.checkout import ROOT

NAMES = [name for line in division.FIRST for name in line]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_names_is_there(name: str) -> None:
    file, _, beginning = name.partition("::")
    assert (ROOT / file).exists()
    assert f"def {beginning.split('[')[0]}" in (ROOT / file).read_text() if beginning else True


def test_a_line_is_one_part_in_its_order() -> None:
    for line in division.FIRST:
        tests = [name if "::" in name else f"{name}::test_any" for name in line if ".py" in name]
        assert len({division.part(test) for test in tests}) <= 1
        assert all(division.place(one) < division.place(other) for one, other in pairwise(tests))


def test_any_other_file_is_a_part_of_its_own() -> None:
    one, other = "tests/proofs/test_tree.py::test_a[b::c]", "tests/p2p/test_life.py::test_a"
    assert division.part(one) == "tests/proofs/test_tree.py"
    assert division.part(other) == "tests/p2p/test_life.py"
    assert division.place(other) < division.place(one)
