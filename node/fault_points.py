"""Named places where a process may die, so that tests can kill it at each of them and see that nothing is lost.

Each durable step passes two points, `<step>:before` and `<step>:after` its commit. They do nothing unless
`CAPANODE_FAULT_POINTS` names a folder, which only tests do: then each passage is appended to its file `passed`, and
the point whose name stands in its file `armed` ends the process by SIGKILL, once.
"""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "CAPANODE_FAULT_POINTS"

_folder: Final = Path(named) if (named := os.environ.get(FOLDER_VARIABLE)) else None


@contextmanager
def durable(step: str) -> Generator[None]:
    """Mark a durable step: what is inside happens whole or not at all, or may be repeated after a crash."""
    reach(f"{step}:before")
    yield
    reach(f"{step}:after")


def reach(point: str) -> None:
    """Pass a point; free of cost outside of tests."""
    if _folder is not None:
        _reach_in(_folder, point)


def _reach_in(folder: Path, point: str) -> None:
    # Opened for each passage: the process may be killed by anybody at any time, and the line must be there.
    descriptor = os.open(folder / "passed", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{point}\n".encode())
    finally:
        os.close(descriptor)
    armed = folder / "armed"
    try:
        is_armed = armed.read_text().strip() == point
    except FileNotFoundError:
        return
    if is_armed:
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
