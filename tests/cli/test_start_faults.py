"""What is wrong at a start with the world outside: one sentence, the documented code, and no node left behind."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from capanode.node.chain.anvil import Anvil, run_anvil
from capanode.node.cli.exits import Exit
from capanode.node.data_folder import DataFolder, holder
from capanode.node.devnet_parties import join
from capanode.node.network_profile import NetworkProfile, read_profile
from deploy.setup_devnet import prepare


@dataclass(frozen=True)
class Place:
    """A network whose nodes could start."""

    chain: Anvil
    provider: DataFolder
    requester: DataFolder
    profile: NetworkProfile


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path, ["127.0.0.1"], "127.0.0.1", chain_id=chain.chain_id)
        provider, requester = (DataFolder(tmp_path / "nodes" / name) for name in ("provider-1", "requester"))
        yield Place(chain, provider, requester, read_profile(provider.networks / "devnet.toml"))


async def start(folder: DataFolder, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Start a node that is expected to end at once; its exit code and what it said."""
    command = [sys.executable, "-m", "capanode.node", "start", "--data", str(folder.root), "--until-idle", "1"]
    env = {**os.environ, **(environ or {})}
    done = await trio.run_process(
        command, stdin=subprocess.DEVNULL, capture_stderr=True, capture_stdout=True, check=False, env=env
    )
    assert holder(folder) is None
    said = [line for line in done.stderr.decode().splitlines() if line.startswith("capanode: ")]
    return done.returncode, "\n".join(said)


async def test_engine_that_is_down(place: Place) -> None:
    environ = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "CAPANODE_TIMEOUTS__ENGINE": "1s"}
    code, said = await start(place.provider, environ)
    assert code == Exit.UNAVAILABLE
    assert "Docker" in said


async def test_chain_of_another_id(place: Place) -> None:
    join(place.requester, replace(place.profile, chain_id=5))
    code, said = await start(place.requester)
    assert code == Exit.INPUT
    assert "serves chain 31337, not 5" in said


async def test_network_without_contracts(place: Place) -> None:
    join(place.requester, replace(place.profile, directory=place.profile.directory[::-1]))  # type: ignore[arg-type]
    code, said = await start(place.requester)
    assert code == Exit.INPUT
    assert "no contract" in said


async def test_port_that_is_taken(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = await start(place.requester, {"CAPANODE_P2P__PORT": str(port)})
    assert code == Exit.INPUT
    assert str(port) in said


async def test_node_without_work_ends_by_itself(place: Place) -> None:
    code, said = await start(place.requester, {"CAPANODE_P2P__PORT": "0"})
    assert code == Exit.DONE
    assert "the node is up" in said
