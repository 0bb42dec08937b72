import pytest

from capanode.proofs.replication import Majority, majority


def near(a: float, b: float) -> bool:
    return abs(a - b) <= 1


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([1.0, 1.0, 5.0], Majority(0, (0, 1))),
        ([9.0, 1.0, 2.0, 3.0, 9.0], Majority(2, (1, 2, 3))),  # the middle one gathers both of its neighbours
        ([1.0, None, 1.0], Majority(0, (0, 2))),
        ([1.0, None, None], None),
        ([1.0, 5.0], None),
        ([1.0, 1.0, 5.0, 5.0], None),
        ([1.0], Majority(0, (0,))),
        ([None, None], None),
        ([], None),
    ],
)
def test_majority_is_more_than_half_of_all(results: list[float | None], expected: Majority | None) -> None:
    assert majority(results, near) == expected
