"""Finds the node of a data folder, or starts a short-lived one: what commands and `Client` talk to."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capanode.node.api.client import NodeClient
from capanode.node.data_folder import DataFolder, private_folder
from capanode.protocol.faults import Misconfigured, Unavailable

START_TIMEOUT_S: Final = 60.0
"""Opening a wallet of full cost takes a second; the rest is reaching the chain and the first peer."""
IDLE_S: Final = 30.0
"""How long a short-lived node stays after its last open job and caller, for the next command."""
MISCONFIGURED_EXIT: Final = 2

_POLL_S: Final = 0.02
_TAIL_BYTES: Final = 4096

Password = Callable[[], str]


def node_client(
    folder: DataFolder,
    *,
    password: Password | None = None,
    report: Callable[[str], None] = lambda _: None,
    command: tuple[str, ...] = (sys.executable, "-m", "capanode.node"),
) -> NodeClient:
    """The running node of this data folder, else one started for the occasion, which ends when it has no work.

    `password` is asked only when a node has to be started, and reaches it through a pipe.

    Raises:
        Misconfigured, Unavailable: why the node could not start, as the node said it.
    """
    client = NodeClient(folder.socket)
    if client.is_there():
        return client
    if not folder.wallet.exists():
        raise Misconfigured(f"there is no wallet in {folder.root}: make one with `capanode init`.")
    report("starting a node for this (it ends by itself; `capanode start` keeps one running)")
    private_folder(folder.root)
    said_before = folder.log.stat().st_size if folder.log.exists() else 0
    process = _start(folder, password, command)
    _wait_for(client, process, folder, said_before)
    return client


def _start(folder: DataFolder, password: Password | None, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    options = ["start", "--requester", "--until-idle", f"{IDLE_S:g}", "--data", str(folder.root)]
    secret = b"" if password is None else password().encode() + b"\n"
    if secret:
        options.append("--password-stdin")
    with folder.log.open("ab") as log:
        folder.log.chmod(0o600)
        process = subprocess.Popen(
            [*command, *options], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
    assert process.stdin is not None
    try:
        process.stdin.write(secret)
        process.stdin.close()
    except BrokenPipeError:
        process.stdin = None  # it has ended already; its exit code says why
    return process


def _wait_for(client: NodeClient, process: subprocess.Popen[bytes], folder: DataFolder, said_before: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not client.is_there():
        code = process.poll()
        if code is not None:
            said = _last_sentence(folder.log, said_before)
            kind = Misconfigured if code == MISCONFIGURED_EXIT else Unavailable
            raise kind(said or f"the node ended with the exit code {code}: see {folder.log}.")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise Unavailable(f"the node did not come up within {START_TIMEOUT_S:.0f} s: see {folder.log}.")
        time.sleep(_POLL_S)
    # It outlives this process on purpose, so nothing here waits for it.
    process.returncode = 0


def _last_sentence(log: Path, said_before: int) -> str:
    """What a node that could not start said last, without the program's name."""
    with log.open("rb") as stream:
        stream.seek(max(said_before, log.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    said = [line.removeprefix("capanode: ") for line in lines if line.startswith("capanode: ")]
    return said[-1] if said else ""
