"""A provider whose machine goes wrong whenever it checks others: it is sure of what it finds, and always mistaken.

Its own jobs it does well. For tests, and on a devnet of this machine only.
"""

from collections.abc import Callable
from typing import Any, cast

from capanode.node.devnet_cheater import start_disguised
from capanode.node.executors.port import Executor, RunOutcome, RunRequest


class WrongMachine:
    """An executor that leaves a file too many in everything that it computes for a check, as long as it goes wrong."""

    def __init__(self, honest: Executor, goes_wrong: Callable[[], bool] = lambda: True) -> None:
        self._honest = honest
        self._goes_wrong = goes_wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        """Run the program, and spoil what came of it if that is for a check."""
        outcome = await self._honest.run(request, started=started)
        if request.is_check and outcome.outputs is not None and self._goes_wrong():
            (outcome.outputs / "smudge").write_text("a bit that fell over\n", "ascii")
        return outcome


def main() -> None:
    """Start the node; for `start_node`."""
    start_disguised("wrong_machine", lambda honest, _: cast(Executor, WrongMachine(honest)))


if __name__ == "__main__":
    main()
