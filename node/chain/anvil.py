"""A development chain in a child process: foundry's anvil, for the devnet and for tests."""

import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import trio

from capanode.node.fault_points import durable
from capanode.protocol.faults import Misconfigured, Unavailable

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
"""Includes writing the state file, some tens of MiB on a long-lived devnet."""

MNEMONIC: Final = "test test test test test test test test test test test junk"
"""Foundry's public test phrase: the keys are known to everyone, so they are worth nothing elsewhere."""

_LISTENING: Final = re.compile(rb"Listening on [\d.]+:(\d+)")
_MAX_BANNER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running development chain."""

    port: int
    chain_id: int
    pid: int

    @property
    def rpc_url(self) -> str:
        """Where it answers JSON-RPC."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where it takes subscriptions."""
        return f"ws://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class AnvilOptions:
    """How the chain behaves; the default mines a block for each transaction at once."""

    port: int = 0
    """Zero lets the system choose a free one."""

    host: str = "127.0.0.1"
    chain_id: int = 31_337
    accounts: int = 10
    block_time_s: int | None = None
    idle_block_s: int | None = None
    """Besides a block for each transaction, an empty one every so often: for what waits for blocks. Seconds."""

    is_mining: bool = True
    state_file: Path | None = None
    """Read at start and written at the end, so that a devnet outlives its process."""

    environment: Mapping[str, str] | None = None
    """None is this process's own."""

    slots_in_an_epoch: int = 32
    """`safe` is one epoch and `finalized` two epochs behind the head."""


def development_key(index: int) -> bytes:
    """The private key of the development chain's account `index`."""
    from capanode.node.keys.accounts import key_from_seed, seed_from_mnemonic

    return bytes(key_from_seed(seed_from_mnemonic(MNEMONIC, ""), f"m/44'/60'/0'/0/{index}"))


def find_anvil() -> Path:
    """The anvil program: `CAPANODE_ANVIL`, then `PATH`, then the checkout's Node packages.

    Raises:
        Misconfigured: it is nowhere.
    """
    named = os.environ.get("CAPANODE_ANVIL")
    if named:
        if not os.access(named, os.X_OK):
            raise Misconfigured(f"CAPANODE_ANVIL names {named}, which is no program: correct it or unset it.")
        return Path(named)
    found = shutil.which("anvil")
    if found:
        return Path(found)
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "amd64")
    package = f"node_modules/@foundry-rs/anvil-{sys.platform}-{machine}/bin/anvil"
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if os.access(root / package, os.X_OK):
            return root / package
    raise Misconfigured(
        "The development chain 'anvil' is not installed: run `make setup`, or name it in CAPANODE_ANVIL."
    )


@asynccontextmanager
async def run_anvil(options: AnvilOptions = AnvilOptions()) -> AsyncGenerator[Anvil]:
    """A development chain for the length of the block, stopped cleanly at its end.

    It has a session of its own, so that a Ctrl-C at the terminal ends it after its users and not before.

    Raises:
        Misconfigured: anvil is not installed, or the port is taken.
        Unavailable: it did not start in time.
    """
    command = [str(find_anvil()), *_arguments(options)]
    with durable("devnet.start-chain"):
        process = await trio.lowlevel.open_process(
            command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True, env=options.environment
        )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        port = await _listening_port(process, options)
        # Not in a nursery of our own, which would wrap whatever the body raises in a group.
        trio.lowlevel.spawn_system_task(_drain, process.stdout)
        trio.lowlevel.spawn_system_task(_drain, process.stderr)
        yield Anvil(port, options.chain_id, process.pid)
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)
            await process.stdout.aclose()
            await process.stderr.aclose()


def _arguments(options: AnvilOptions) -> list[str]:
    arguments = [
        f"--host={options.host}",
        f"--port={options.port}",
        f"--chain-id={options.chain_id}",
        f"--accounts={options.accounts}",
        f"--mnemonic={MNEMONIC}",
        f"--slots-in-an-epoch={options.slots_in_an_epoch}",
        "--order=fifo",
    ]
    if options.block_time_s is not None:
        arguments.append(f"--block-time={options.block_time_s}")
    if options.idle_block_s is not None:
        arguments += [f"--block-time={options.idle_block_s}", "--mixed-mining"]
    if not options.is_mining:
        arguments.append("--no-mining")
    if options.state_file is not None:
        arguments += [f"--state={options.state_file}", "--preserve-historical-states"]
    return arguments


async def _listening_port(process: trio.Process, options: AnvilOptions) -> int:
    assert process.stdout is not None
    assert process.stderr is not None
    banner = bytearray()
    with trio.move_on_after(START_TIMEOUT_S):
        while len(banner) < _MAX_BANNER_BYTES:
            received = await process.stdout.receive_some()
            if not received:
                said = (await process.stderr.receive_some(2000)).decode(errors="replace").strip()
                if "in use" in said:
                    raise Misconfigured(f"Port {options.port} is taken: stop what listens there, or choose another.")
                raise Unavailable(f"The development chain did not start: {said or 'anvil ended without a word'}.")
            banner += received
            if match := _LISTENING.search(banner):
                return int(match[1])
    raise Unavailable(f"The development chain was not ready within {START_TIMEOUT_S:.0f} s: try again.")


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    """Read the log away; a full pipe would stop the chain."""
    with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
        while await stream.receive_some(64 * 1024):
            pass


async def _stop(process: trio.Process) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with trio.move_on_after(STOP_TIMEOUT_S):
            await process.wait()
    if process.poll() is None:
        process.kill()
        await process.wait()
