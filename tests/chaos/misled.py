"""An arbiter whose machine goes wrong as long as a file in its data folder says so.

For tests, and on a devnet of this machine only.
"""

from typing import Final, cast

from capanode.node.devnet_cheater import start_disguised
from capanode.node.executors.port import Executor
from tests.e2e.wrong_machine import WrongMachine

MISLED: Final = "misled"
"""The file."""


def main() -> None:
    """Start the node; for `start_node`."""
    start_disguised(
        "misled", lambda honest, folder: cast(Executor, WrongMachine(honest, (folder.root / MISLED).exists))
    )


if __name__ == "__main__":
    main()
