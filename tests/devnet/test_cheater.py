"""The provider that cheats: in a devnet it does, anywhere else it does not start."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from capanode.node.cli.exits import Exit
from capanode.node.config import ChainSettings, NodeConfig
from capanode.node.data_folder import DataFolder, prepare
from capanode.node.devnet_cheater import require_devnet
from capanode.node.devnet_parties import join
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address

DEVNET = NetworkProfile("devnet", 31337, ("http://127.0.0.1:8545",), Address(b"\x01" * 20), is_devnet=True)


def test_devnet_of_this_machine_is_fine(tmp_path: Path) -> None:
    require_devnet(DEVNET, NodeConfig(data_dir=tmp_path))


@pytest.mark.parametrize(
    "profile",
    [
        replace(DEVNET, is_devnet=False),
        replace(DEVNET, chain_id=1),
        replace(DEVNET, rpc_urls=("http://127.0.0.1:8545", "https://rpc.example")),
    ],
    ids=["public", "another chain", "another machine"],
)
def test_cheater_starts_in_no_other_network(profile: NetworkProfile, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="devnet up --cheater"):
        require_devnet(profile, NodeConfig(data_dir=tmp_path))


def test_own_endpoints_count_as_well(tmp_path: Path) -> None:
    config = NodeConfig(data_dir=tmp_path, chain=ChainSettings(rpc_urls=("https://rpc.example",)))
    with pytest.raises(Misconfigured, match="devnet up --cheater"):
        require_devnet(DEVNET, config)


def test_program_itself_refuses(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    prepare(folder)
    join(folder, replace(DEVNET, chain_id=1))
    command = [sys.executable, "-m", "capanode.node.devnet_cheater", "start", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.INPUT
    assert "is no devnet of this machine" in done.stderr


def test_no_setting_and_no_other_module_knows_of_cheating() -> None:
    """It is one file, and what starts it is the devnet alone."""
    sources = Path(__file__).parents[2] / "node"
    knowing = {path.name for path in sources.rglob("*.py") if "cheat" in path.read_text("utf-8").lower()}
    assert knowing == {"devnet_cheater.py", "devnet.py"}
