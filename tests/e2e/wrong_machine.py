"""A provider whose machine goes wrong whenever it checks others: it is sure of what it finds, and always mistaken.

Its own jobs it does well. For tests, and on a devnet of this machine only.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from capanode.node.cli.app import run as run_command
from capanode.node.cli.starting import overridden, started
from capanode.node.data_folder import DataFolder
from capanode.node.devnet_cheater import require_devnet
from capanode.node.executors.port import Executor, RunOutcome, RunRequest
from capanode.node.network_profile import read_profile
from capanode.node.wiring.run import run_node


class WrongMachine:
    """An executor that leaves a file too many in everything that it computes for a check."""

    def __init__(self, honest: Executor) -> None:
        self._honest = honest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        """Run the program, and spoil what came of it if that is for a check."""
        outcome = await self._honest.run(request, started=started)
        if request.is_check and outcome.outputs is not None:
            (outcome.outputs / "smudge").write_text("a bit that fell over\n", "ascii")
        return outcome


def main() -> None:
    """Start the node; for `start_node`."""
    sys.exit(run_command(_main))


def _main() -> None:
    parser = argparse.ArgumentParser(prog="wrong_machine")
    parser.add_argument("start", choices=("start",))
    parser.add_argument("--data", required=True, type=Path)
    folder = DataFolder(parser.parse_args(sys.argv[1:]).data)
    config = overridden(folder, roles=None, network=None, until_idle_s=None, port=None, password_file=None)
    require_devnet(read_profile(config.profile_path), config)
    started(config, None, False, partial(run_node, disguise=lambda one: cast(Executor, WrongMachine(one))))


if __name__ == "__main__":
    main()
