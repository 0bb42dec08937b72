import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol.records import VerificationClass
from capanode.scheduler.windows import least_window_s, transfer_s

EXACT, NONE = VerificationClass.EXACT, VerificationClass.NONE


@pytest.mark.parametrize(("size", "seconds"), [(0, 0), (1, 1), (10, 1), (11, 2), (100, 10)])
def test_transfers_round_up(size: int, seconds: int) -> None:
    assert transfer_s(size, 10) == seconds


@pytest.mark.parametrize(
    ("floor", "timeout", "moved", "verification", "window"),
    [
        (5, 5, 0, EXACT, 10),
        (60, 5, 0, EXACT, 60),
        (5, 60, 100, EXACT, 130),
        (5, 60, 100, NONE, 5),
    ],
)
def test_window_leaves_time_to_challenge(
    floor: int, timeout: int, moved: int, verification: VerificationClass, window: int
) -> None:
    assert least_window_s(floor, timeout, moved, 10, verification) == window


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**9), st.sampled_from(VerificationClass))
def test_window_is_never_below_the_floor(floor: int, timeout: int, moved: int, verification: VerificationClass) -> None:
    assert least_window_s(floor, timeout, moved, 2**20, verification) >= floor
