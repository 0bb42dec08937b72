"""Clocks for tests that wait on the network and work on the disk."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def patient_clock(mock_clock: MockClock) -> MockClock:
    """Jumps over waiting, but not over threads that work on the disk."""
    mock_clock.autojump_threshold = 0.3
    return mock_clock
