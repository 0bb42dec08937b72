"""Time of day that nobody can set: the machine's clock as it was at the start, carried on by the time since the boot.

An administrator, a time service or a virtual machine may move the machine's clock by hours. What is measured with it
then seems to have ended at once, or never to end; so everything in a node that needs the time asks here.
"""

import time
from typing import Final

_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where the system can tell."""


def _since_boot_s() -> float:
    return time.clock_gettime(_SINCE_BOOT)


_BOOTED_AT: Final = time.time() - _since_boot_s()


def unix_now() -> float:
    """Unix time, in seconds; never goes back and never leaps."""
    return _BOOTED_AT + _since_boot_s()
