"""`capanode stop`: ends the node and waits until its data folder is free again."""

import time
from typing import Final

from capanode.node.api.client import NodeClient
from capanode.node.cli.exits import Exit
from capanode.node.data_folder import DataFolder, holder
from capanode.protocol.faults import Unavailable

LOOK_S: Final = 0.05
SLACK_S: Final = 5.0
"""What a process may take to be gone after it was cut short."""


def stopped(client: NodeClient, folder: DataFolder, within_s: float) -> Exit:
    """Ask, and wait for the end of the process; whether it ended in order.

    Raises:
        NoNode: none runs.
        Unavailable: the process is still there, though it should have been cut short.
    """
    asked_at = time.monotonic()
    client.stop(within_s)
    while (pid := holder(folder)) is not None:
        if time.monotonic() - asked_at > within_s + SLACK_S:
            raise Unavailable(f"the node with process id {pid} does not end: look at its log, then kill it")
        time.sleep(LOOK_S)
    return Exit.DONE if time.monotonic() - asked_at < within_s else Exit.CUT_SHORT
