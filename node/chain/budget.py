"""How often a chain may be asked per minute, so that a free public endpoint is enough.

Only what can wait is held back: looks at an idle chain, comparisons of endpoints, gas prices. What a deal needs is
counted and never waits, so it makes the rest wait longer.
"""

from typing import Final

import trio

BURST: Final = 0.1
"""The part of a minute's calls that may be made at once; the rest is earned over the minute, so that none has more."""

LONGEST_WAIT_S: Final = 15.0
"""Even over its budget an idle node looks this often, or it would miss what is announced."""


class RequestBudget:
    """Calls per minute, counted over the last minute; unlimited when `per_minute` is None."""

    def __init__(self, per_minute: int | None = None) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute or 0)
        self._counted_at = float("-inf")

    def spend(self, calls: int) -> None:
        """Count calls that are made now; never waits. Owes at most one minute's worth."""
        if self._per_minute is None:
            return
        self._refill(self._per_minute)
        self._left = max(self._left - calls, -float(self._per_minute))

    def wait_s(self) -> float:
        """How long something that can wait has to, at most `LONGEST_WAIT_S`."""
        if self._per_minute is None:
            return 0.0
        self._refill(self._per_minute)
        missing = max(1 - self._left, 0.0)
        return min(missing / _earned_per_s(self._per_minute), LONGEST_WAIT_S)

    async def turn(self) -> None:
        """Wait that long."""
        await trio.sleep(self.wait_s())

    def _refill(self, per_minute: int) -> None:
        now = trio.current_time()
        earned = (now - self._counted_at) * _earned_per_s(per_minute)
        # Kept small, so that a quiet time is not followed by a burst of what can wait.
        self._left = min(self._left + earned, max(per_minute * BURST, 1.0))
        self._counted_at = now


def _earned_per_s(per_minute: int) -> float:
    return per_minute * (1 - BURST) / 60
