"""What `capanode doctor` finds, and what it tells to do about it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from capanode.node.chain.anvil import run_anvil
from capanode.node.chain.approvals import Approvals
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.versions import Trust
from capanode.node.cli.exits import Exit
from capanode.node.data_folder import DataFolder
from capanode.node.doctor import Finding, Level, examine
from capanode.node.network_profile import NetworkProfile
from capanode.node.storage.database import open_database
from capanode.node.wiring.schemas import SCHEMAS
from capanode.protocol.ids import Digest
from deploy.setup_devnet import prepare


async def found(folder: DataFolder) -> dict[str, Finding]:
    return {finding.subject: finding async for finding in examine(folder)}


async def test_empty_place_gets_a_shopping_list(tmp_path: Path) -> None:
    findings = await found(DataFolder(tmp_path / "nothing"))
    missing = {name for name, finding in findings.items() if finding.level is Level.MISSING}
    assert missing == {"data folder", "wallet", "network"}
    assert all(findings[name].remedy for name in missing)
    assert "capanode init" in findings["data folder"].remedy


async def test_config_that_is_wrong_comes_first(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("slots = 3", "utf-8")
    findings = await found(DataFolder(tmp_path))
    assert findings["config"].level is Level.MISSING
    assert "provider.slots" in findings["config"].sentence
    assert "chain" not in findings


async def test_ready_nodes_lack_nothing_but_their_being_up(tmp_path: Path) -> None:
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path, ["127.0.0.1"], "127.0.0.1", chain_id=chain.chain_id)
        provider = await found(DataFolder(tmp_path / "nodes" / "provider-1"))
        requester = await found(DataFolder(tmp_path / "nodes" / "requester"))
    assert not [f for f in provider.values() if f.level in (Level.MISSING, Level.DOWN)]
    assert not [f for f in requester.values() if f.level in (Level.MISSING, Level.DOWN)]
    assert {"docker", "output disks", "gpu", "stake", "gas", "clock", "chain", "port"} <= set(provider)
    assert "stake" not in requester
    assert requester["court"].level is Level.NOTE, "one provider is not enough to judge"
    assert "1 arbiters of" in requester["court"].sentence
    assert "arbiter enroll" in requester["court"].remedy


async def test_code_that_its_operator_approved_is_good_whether_the_node_runs_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted: list[Trust | None] = []

    async def seen(rpc: Rpc, profile: NetworkProfile, trust: Trust | None = None) -> Contracts:
        trusted.append(trust)
        return await resolve(rpc, profile, trust)

    monkeypatch.setattr("capanode.node.doctor.resolve", seen)
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path, ["127.0.0.1"], "127.0.0.1", chain_id=chain.chain_id)
        folder = DataFolder(tmp_path / "nodes" / "requester")
        await found(folder)
        async with open_database(folder.database, SCHEMAS) as database:
            await Approvals(database).add(Digest(b"\x07" * 32))
            assert (await found(folder))["chain"].level is Level.OK
        before = folder.database.read_bytes()
        await found(folder)
        assert folder.database.read_bytes() == before
    assert [trust.approved if trust else None for trust in trusted] == [frozenset(), {b"\x07" * 32}, {b"\x07" * 32}]


async def test_chain_that_is_down_and_wallet_that_others_read(tmp_path: Path) -> None:
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path, ["127.0.0.1"], "127.0.0.1", chain_id=chain.chain_id)
    folder = DataFolder(tmp_path / "nodes" / "requester")
    folder.wallet.chmod(0o644)
    findings = await found(folder)
    assert findings["chain"].level is Level.DOWN
    assert "chmod 600" in findings["wallet"].remedy


async def test_engine_that_is_down_and_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path, ["127.0.0.1"], "127.0.0.1", chain_id=chain.chain_id)
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
        monkeypatch.setenv("CAPANODE_P2P__HOST", "127.0.0.1")
        monkeypatch.setenv("CAPANODE_P2P__PORT", str(chain.port))
        findings = await found(DataFolder(tmp_path / "nodes" / "provider-1"))
    assert findings["docker"].level is Level.DOWN
    assert findings["port"].level is Level.MISSING


def test_code_says_whether_a_node_would_work(
    tmp_path: Path, capanode: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert capanode("doctor", "--data", str(tmp_path / "nothing")) == Exit.INPUT
    assert "To do:" in capsys.readouterr().out
