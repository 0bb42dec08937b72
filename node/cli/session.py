"""How a command reaches its node."""

import sys
from pathlib import Path

from capanode.node.api.client import NodeClient
from capanode.node.cli.output import note
from capanode.node.data_folder import data_folder
from capanode.node.launch import node_client


def running(data: Path | None) -> NodeClient:
    """The node that runs on the data folder; its calls raise `NoNode` when none does."""
    return NodeClient(data_folder(data).socket)


def reached(data: Path | None) -> NodeClient:
    """The node that runs on the data folder, else a short-lived one."""
    folder = data_folder(data)
    client = NodeClient(folder.socket)
    if client.is_there():
        return client
    from capanode.node.cli.passwords import is_password_known

    known = is_password_known(folder)
    return node_client(folder, password=None if known or not sys.stdin.isatty() else _ask, report=note)


def _ask() -> str:
    from capanode.node.cli.passwords import asked

    return asked("wallet password: ")
