"""A process that may be killed at a named point, and is started again as a service manager would."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from capanode.node.fault_points import FOLDER_VARIABLE, Armed

PROGRAM = "capanode.node"
RESTART_S = 0.2
END_S = 20.0


class Forked:
    """A process that the zygote has forked."""

    def __init__(self) -> None:
        self.pid = 0
        self.code: int | None = None
        self.is_started = threading.Event()
        self.has_ended = threading.Event()

    def is_alive(self) -> bool:
        return self.is_started.is_set() and not self.has_ended.is_set()

    def send(self, number: int) -> None:
        """A signal, if it still lives."""
        if self.is_alive():
            with suppress(ProcessLookupError):  # it has just been buried
                os.kill(self.pid, number)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit code, as `subprocess` has it; None when it has not ended in time."""
        self.has_ended.wait(timeout_s)
        return self.code


class Zygote:
    """The process that nodes are forked from; see `tests.chaos.zygote`."""

    def __init__(self) -> None:
        command = (sys.executable, "-m", "tests.chaos.zygote")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._turn = threading.Lock()
        self._starting: list[Forked] = []
        self._living: dict[int, Forked] = {}
        self._reader = threading.Thread(target=self._read, name="zygote", daemon=True)
        self._reader.start()

    def start(
        self,
        command: Sequence[str],
        log: Path,
        faults: Path,
        armed: Armed | None = None,
        program: str = PROGRAM,
    ) -> Forked:
        """Start a command of `capanode`, or of another program; at `armed` it dies, but nothing that it starts does."""
        assert self._process.stdin is not None
        forked = Forked()
        order = {
            "program": program,
            "command": list(command),
            "log": str(log),
            "faults": str(faults),
            "armed": None if armed is None else (armed.point, armed.passage),
            "environment": {FOLDER_VARIABLE: str(faults)},
        }
        with self._turn:
            self._starting.append(forked)
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        forked.is_started.wait()
        return forked

    def close(self) -> None:
        """End it and whatever it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                fact: dict[str, int] = json.loads(line)
                if "started" in fact:
                    forked = self._starting.pop(0)
                    forked.pid = fact["started"]
                    self._living[forked.pid] = forked
                    forked.is_started.set()
                elif "ended" in fact:
                    forked = self._living.pop(fact["ended"])
                    forked.code = fact["code"]
                    forked.has_ended.set()


@dataclass(slots=True)
class Mortal:
    """One process under supervision; `faults` is its own folder of fault points."""

    zygote: Zygote
    command: Sequence[str]
    log: Path
    faults: Path
    program: str = PROGRAM
    kills: int = 0
    """How often it ended by SIGKILL that nobody here had sent."""

    ends: int = 0
    """How often it ended without having been put down, in whatever way."""

    odd_exits: list[int] = field(default_factory=list[int])
    """Every other exit code of an end that nobody had asked for."""

    _later: list[Armed] = field(default_factory=list[Armed])
    _process: Forked | None = None
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
        while not self._idle.is_set() or (self._process is not None and self._process.is_alive()):
            if self._process is not None:
                self._process.send(signal.SIGKILL)
            self._idle.wait(0.02)

    def close(self) -> None:
        """End it in order, for good."""
        self._closed = True
        self._wanted.clear()
        if self._process is not None and self._process.is_alive():
            self._process.send(signal.SIGTERM)
            if self._process.wait(END_S) is None:
                self._process.send(signal.SIGKILL)
        self._wanted.set()
        if self._keeper is not None:
            self._keeper.join()

    def arm(self, armed: Armed, *later: Armed) -> None:
        """Have it die there, and each time that it has been started again at the next place."""
        self.faults.mkdir(parents=True, exist_ok=True)
        self._later = list(later)
        armed.write(self.faults)

    def disarm(self) -> int:
        """At how many places it was still to die."""
        left = len(self._later) + (self.faults / "armed").exists()
        self._later = []
        (self.faults / "armed").unlink(missing_ok=True)
        return left

    @contextmanager
    def spared(self, step: str) -> Generator[None]:
        """Not to die at a step for now, if it is to die there at all."""
        armed, later = self.faults / "armed", self.faults / "later"
        if armed.exists() and armed.read_text("utf-8").startswith(f"{step}:"):
            armed.rename(later)
        try:
            yield
        finally:
            if later.exists():
                later.rename(armed)

    def times_passed(self, step: str) -> int:
        """How often a step was passed whole since the passages were last taken."""
        try:
            lines = (self.faults / "passed").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return 0
        return sum(line.split()[1:] == [f"{step}:after"] for line in lines)

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
                    if self._later:
                        self._later.pop(0).write(self.faults)
                else:
                    self.odd_exits.append(code)
                time.sleep(RESTART_S)

    def _live(self) -> int:
        self._process = self.zygote.start(self.command, self.log, self.faults, program=self.program)
        if not self._wanted.is_set():
            self._process.send(signal.SIGKILL)
        code = self._process.wait()
        assert code is not None
        return code
