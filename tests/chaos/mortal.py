"""A process that may be killed at a named point, and is started again as a service manager would."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capanode.node.fault_points import FOLDER_VARIABLE, Armed

CAPANODE = (sys.executable, "-m", "capanode.node")
RESTART_S = 0.2


@dataclass(slots=True)
class Mortal:
    """One process under supervision; `faults` is its own folder of fault points."""

    command: Sequence[str]
    log: Path
    faults: Path
    kills: int = 0
    """How often it ended by SIGKILL that nobody here had sent."""

    ends: int = 0
    """How often it ended without having been put down, in whatever way."""

    odd_exits: list[int] = field(default_factory=list[int])
    """Every other exit code of an end that nobody had asked for."""

    _process: "subprocess.Popen[bytes] | None" = None
    _wanted: threading.Event = field(default_factory=threading.Event)
    _closed: bool = False
    _idle: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether it is meant to be up."""
        return self._wanted.is_set()

    def start(self) -> None:
        """Start it, and again whenever it ends, until `down` or `close`."""
        self.faults.mkdir(parents=True, exist_ok=True)
        self._idle.clear()
        self._wanted.set()
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name=self.log.parent.name, daemon=True)
            self._keeper.start()

    def down(self) -> None:
        """SIGKILL, and stay down until `start`."""
        self._wanted.clear()
        while not self._idle.is_set() or self._is_alive():
            if self._process is not None and self._is_alive():
                self._process.kill()
            self._idle.wait(0.02)

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it in order, for good."""
        self._closed = True
        self._wanted.clear()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._wanted.set()
        if self._keeper is not None:
            self._keeper.join()

    def arm(self, armed: Armed) -> None:
        """Have it die there."""
        armed.write(self.faults)

    def disarm(self) -> bool:
        """Whether it was still armed."""
        was_armed = (self.faults / "armed").exists()
        (self.faults / "armed").unlink(missing_ok=True)
        return was_armed

    def take_passed(self) -> list[str]:
        """The points passed since this was last asked, in order."""
        try:
            os.replace(self.faults / "passed", self.faults / "taken")
        except FileNotFoundError:
            return []
        return [line.split()[1] for line in (self.faults / "taken").read_text("utf-8").splitlines()]

    def _keep(self) -> None:
        while not self._closed:
            if not self._wanted.is_set():
                self._idle.set()
                self._wanted.wait()
                continue
            self._idle.clear()
            code = self._live()
            if self._wanted.is_set():
                self.ends += 1
                if code == -signal.SIGKILL:
                    self.kills += 1
                else:
                    self.odd_exits.append(code)
                time.sleep(RESTART_S)

    def _live(self) -> int:
        environment = {**os.environ, FOLDER_VARIABLE: str(self.faults)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        if not self._wanted.is_set():
            self._process.kill()
        return self._process.wait()
