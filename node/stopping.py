"""The end of a running node: asked for once, in order, and within a time that holds whatever hangs."""

import threading
from collections.abc import Callable
from typing import Final

import trio

DEFAULT_WITHIN_S: Final = 30.0
"""How long a node may take to end in order unless it is told otherwise. Seconds."""


def _never() -> None:
    """For nodes that share a process with their test."""


class Stop:
    """Asked by the API and by signals, waited for by the node."""

    def __init__(self, cut_short: Callable[[], None] = _never) -> None:
        """`cut_short` ends the process at once; the journal is whole at every moment."""
        self._cut_short = cut_short
        self._timer: threading.Timer | None = None
        self.requested = trio.Event()

    def ask(self, within_s: float = DEFAULT_WITHIN_S) -> None:
        """End in order; what is not done within the time is left to the next start. A later call sets a new time."""
        if self._timer is not None:
            self._timer.cancel()
        # A thread of its own: it also ends a loop that is stuck.
        self._timer = threading.Timer(within_s, self._cut_short)
        self._timer.daemon = True
        self._timer.start()
        self.requested.set()

    def over(self) -> None:
        """The node has ended in order."""
        if self._timer is not None:
            self._timer.cancel()
