"""A clock for tests that wait on the network and work on the disk."""

from math import inf
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

BREATH_S: Final = 0.02
"""Real time for which nothing happens before the clock jumps: what a thread has done is told to its task by then."""


@pytest.fixture
def patient_clock(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Jumps over waiting, but not while a thread is at work, however slow the machine is."""
    run_sync, at_work = trio.to_thread.run_sync, 0

    async def watched(*args: Any, **options: Any) -> Any:
        nonlocal at_work
        at_work += 1
        mock_clock.autojump_threshold = inf
        try:
            return await run_sync(*args, **options)
        finally:
            at_work -= 1
            if at_work == 0:
                mock_clock.autojump_threshold = BREATH_S

    monkeypatch.setattr(trio.to_thread, "run_sync", watched)
    mock_clock.autojump_threshold = BREATH_S
    return mock_clock
