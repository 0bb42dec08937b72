"""Commands and nodes in processes of their own."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from capanode.node.api.client import NodeClient
from capanode.node.data_folder import DataFolder
from capanode.node.devnet import end
from capanode.protocol.faults import Unavailable

CAPANODE = (sys.executable, "-m", "capanode.node")


async def said(prefix: Sequence[str], folder: DataFolder, *arguments: str) -> str:
    """What a command prints; it has to succeed."""
    command = [*prefix, *CAPANODE, *arguments, "--data", str(folder.root)]
    ran = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


@asynccontextmanager
async def running(
    prefix: Sequence[str], folder: DataFolder, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[dict[str, Any]]:
    """A node in a process of its own, and its status once it has a peer or needs none."""
    command = [*prefix, *CAPANODE, "start", "--data", str(folder.root)]
    with folder.log.open("ab") as log:
        env = {**os.environ, **(environ or {})}
        process = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    try:
        yield await _status(process, folder, 1 if prefix else 0)
    finally:
        with trio.CancelScope(shield=True):
            await end(process)


async def _status(process: trio.Process, folder: DataFolder, peers: int) -> dict[str, Any]:
    while process.poll() is None:
        try:
            status: dict[str, Any] = await trio.to_thread.run_sync(NodeClient(folder.socket).status)
        except Unavailable:
            status = {"peers": -1}
        if status["peers"] >= peers:
            return status
        await trio.sleep(0.05)  # another process says in no other way that it is up
    raise AssertionError(folder.log.read_text())
