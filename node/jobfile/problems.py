"""What is wrong with a job file: every mistake at once, each with its line."""

from collections.abc import Sequence
from dataclasses import dataclass

from capanode.protocol.faults import Misconfigured


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or one thing to think about: the line (from 1) and a sentence."""

    line: int
    sentence: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"


class JobFileErrors(Misconfigured):
    """A job file that has to be changed; `problems` in the order of their lines."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.sentence)))
        super().__init__(f"{path}: " + "; ".join(map(str, self.problems)))
