"""How long a container has run, by a clock that nobody can set."""

import os
import time
from pathlib import Path

import trio

from capanode.node.executors.docker_engine import ContainerState


def ends_by(state: ContainerState, timeout_s: int) -> float:
    """The moment on trio's clock at which a running container's time is over."""
    return trio.current_time() + timeout_s - ran_s(state)


def ran_s(state: ContainerState, proc: Path = Path("/proc")) -> float:
    """Seconds since the program began: by the kernel where it shows the process, else by the engine's time of day.

    **Source**: proc(5), stat, field 22, in clock ticks since the boot.
    """
    try:
        fields = (proc / str(state.pid) / "stat").read_text().rpartition(")")[2].split()
        began_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return max(0.0, time.time() - (state.started_at or time.time()))
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began_s)
