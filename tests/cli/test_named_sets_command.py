"""`capanode network arbiters` against a chain: which named sets its courts know, and which of them this node trusts."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from capanode.node.chain.anvil import development_key, run_anvil
from capanode.node.chain.contracts import resolve
from capanode.node.chain.deploy import DEVNET_COURT_CLOCKS, DeployPlan, deploy
from capanode.node.chain.pools import Pools
from capanode.node.chain.rpc import open_rpc
from capanode.node.cli.exits import Exit
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import profile_text
from capanode.protocol.ids import Address
from capanode.protocol.judging import named_pool
from tests.chain.test_contracts import running_sender
from tests.cli.conftest import command

ONE, TWO, THREE, STRANGER = (Address(bytes([number]) * 20) for number in (0x11, 0x22, 0x33, 0x44))
KNOWN = (ONE, TWO, THREE)
UNKNOWN = (THREE, STRANGER)


async def listed(
    folder: Path, sets: Sequence[tuple[Address, ...]], config: str, capsys: pytest.CaptureFixture[str], has_court: bool
) -> tuple[str, dict[str, object]]:
    """What the command says of a new network, as text and as JSON, once these sets were made known in it."""
    async with run_anvil() as chain, open_rpc([chain.rpc_url], chain.chain_id) as rpc:
        plan = DeployPlan("test", (chain.rpc_url,), court_clocks=DEVNET_COURT_CLOCKS if has_court else None)
        async with running_sender(rpc, folder / "deployer.sqlite", LocalSigner(development_key(0))) as sender:
            profile = await deploy(sender, plan)
            version = (await resolve(rpc, profile)).markets[-1]
            for named in (*sets, *sets):
                await Pools(rpc).name_set(sender, version, named)
        data = folder / "data"
        (data / "networks").mkdir(parents=True)
        (data / "networks" / "default.toml").write_text(profile_text(profile), "utf-8")
        (data / "config.toml").write_text(config, "utf-8")
        show = partial(command, "network", "arbiters", "--data", str(data))
        assert await trio.to_thread.run_sync(show) == Exit.DONE
        told = capsys.readouterr().out
        assert await trio.to_thread.run_sync(partial(show, "--json")) == Exit.DONE
        return told, json.loads(capsys.readouterr().out)


async def test_named_sets_are_listed_with_what_this_node_thinks_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = f"[provider]\nnamed_arbiters = ['0x{ONE.hex()}', '0x{TWO.hex()}']\n"
    config += f"[challenger]\nnamed_arbiters = ['0x{THREE.hex()}']\n"
    told, found = await listed(tmp_path, (KNOWN, UNKNOWN), config, capsys, has_court=True)
    assert found["count"] == 2, "a set is made known once, whoever names it again"
    sets = found["sets"]
    assert isinstance(sets, list)
    trusted, other = sets
    assert trusted["pool"] == f"0x{named_pool(KNOWN).hex()}"
    assert trusted["arbiters"] == [f"0x{one.hex()}" for one in KNOWN]
    assert (trusted["least_quorum"], trusted["version"], trusted["names_this_wallet"]) == (2, 0, False)
    assert (trusted["provider_trusts"], trusted["is_trusted_as_provider"]) == (2, True)
    assert (trusted["challenger_trusts"], trusted["is_trusted_as_challenger"]) == (1, False)
    assert (other["least_quorum"], other["provider_trusts"], other["is_trusted_as_challenger"]) == (2, 0, False)
    head, first, second = told.splitlines()
    assert head.split() == ["quorum", "as", "provider", "as", "challenger", "arbiters"]
    assert first.split("  ")[:3] == ["2 to 3", "quorums up to 2", "no, knows 1"]
    assert f"0x{STRANGER.hex()}" in second


async def test_a_network_without_a_court_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, found = await listed(tmp_path, (), "", capsys, has_court=False)
    assert (found["count"], found["sets"]) == (0, [])
    assert "no named set is known" in told


def test_without_a_network_there_is_nobody_to_ask(tmp_path: Path) -> None:
    assert command("network", "arbiters", "--data", str(tmp_path)) == Exit.INPUT
