"""What a devnet that was killed has left behind: its chain, its nodes, and what those keep in the engine.

Its processes are known by a variable in their environment: there is no moment at which one runs and is not known yet,
as there is between a start and the writing of a process id.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import trio

from capanode.node.data_folder import DataFolder, holder
from capanode.node.fault_points import durable
from capanode.node.keys.peer_key import open_peer_key
from capanode.protocol.faults import Misconfigured, Unavailable
from capanode.protocol.ids import PeerId

ROOT_VARIABLE: Final = "CAPANODE_DEVNET"
END_TIMEOUT_S: Final = 10.0


def environment(root: Path) -> dict[str, str]:
    """The environment of every process that a devnet starts."""
    return {**os.environ, ROOT_VARIABLE: str(root)}


async def end_leftovers(root: Path) -> None:
    """End what runs for the devnet of `root`, and remove what its nodes keep in the engine and mounted.

    The caller holds the devnet's lock, so all of it belongs to one that was killed. Idempotent.
    """
    with durable("devnet.end-leftovers"):
        await trio.to_thread.run_sync(_end_all, root)
    for folder in sorted((root / "nodes").glob("*")):
        node = DataFolder(folder)
        if not node.executions.is_dir() or not (node.p2p / "peer.key").exists():
            continue
        with suppress(Misconfigured), durable("devnet.clear-away"):
            await clear_away(open_peer_key(node.p2p / "peer.key").peer_id, node)


async def clear_away(peer_id: str, folder: DataFolder) -> None:
    """Remove what a provider's node keeps in the engine for its next start: this network has no next start."""
    from capanode.node.executors.docker import DockerExecutor, DockerSettings, executor_name, run_docker_executor

    settings = DockerSettings(node=executor_name(PeerId(peer_id)), state=folder.executions)
    try:
        async with trio.open_nursery() as nursery:
            executor: DockerExecutor = await nursery.start(run_docker_executor, settings)
            await executor.sweep(set())
            nursery.cancel_scope.cancel()
    except* Unavailable:
        pass  # without an engine there is nothing of ours in it


def _end_all(root: Path) -> None:
    left = list(_processes(root))
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=END_TIMEOUT_S)


def _processes(root: Path) -> Iterator[psutil.Process]:
    holders = {holder(DataFolder(folder)) for folder in (root / "nodes").glob("*")}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_child = process.environ().get(ROOT_VARIABLE) == str(root)
            if process.pid != os.getpid() and (is_child or process.pid in holders):
                yield process
