"""Named places where a process may die, so that tests can kill it at each of them and see that nothing is lost.

Each durable step passes two points, `<step>:before` and `<step>:after` its commit. They do nothing unless
`CAPANODE_FAULT_POINTS` names a folder, which only tests do. Then each passage is a line of its file `passed`, process
id and point; and the process that its file `armed` speaks of (`<point> <passage> <process id>`, 0 for any process)
ends by SIGKILL when it passes that point for that time, counted since the arming, and removes the file before.
"""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "CAPANODE_FAULT_POINTS"


@contextmanager
def durable(step: str) -> Generator[None]:
    """Mark a durable step: what is inside happens whole or not at all, or may be repeated after a crash."""
    reach(f"{step}:before")
    yield
    reach(f"{step}:after")


def watch(folder: Path | None) -> None:
    """Take another folder, or none: for a process that was forked after this module had been imported."""
    global _folder
    _folder = folder


def reach(point: str) -> None:
    """Pass a point; free of cost outside of tests."""
    if _folder is not None:
        with _turn:
            _reach_in(_folder, point)


@dataclass(frozen=True, slots=True)
class Armed:
    """Where a process is to die: at the `passage`-th time that it passes `point`."""

    point: str
    passage: int = 1
    process: int = 0

    def write(self, folder: Path) -> None:
        """Arm, whole or not at all: a process reads the file at any moment."""
        draft = folder / ".armed"
        draft.write_text(f"{self.point} {self.passage} {self.process}", "utf-8")
        draft.replace(folder / "armed")


def _reach_in(folder: Path, point: str) -> None:
    # Opened for each passage: the process may be killed by anybody at any time, and the line must be there.
    descriptor = os.open(folder / "passed", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{os.getpid()} {point}\n".encode())
    finally:
        os.close(descriptor)
    try:
        name, passage, process = (folder / "armed").read_text("utf-8").split()
    except FileNotFoundError:
        return
    if name != point or int(process) not in (0, os.getpid()):
        return
    if int(passage) > 1:
        Armed(name, int(passage) - 1, int(process)).write(folder)
        return
    (folder / "armed").unlink()
    os.kill(os.getpid(), signal.SIGKILL)


_folder: Path | None = Path(named) if (named := os.environ.get(FOLDER_VARIABLE)) else None
_turn: Final = threading.Lock()
