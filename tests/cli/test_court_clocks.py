"""`capanode network show --court` against a chain: what its court was made with, or that there is none."""

import json
from functools import partial
from pathlib import Path

import pytest
import trio

from capanode.node.chain.anvil import development_key, run_anvil
from capanode.node.chain.deploy import DEVNET_COURT_CLOCKS, DeployPlan, deploy
from capanode.node.chain.rpc import open_rpc
from capanode.node.cli.exits import Exit
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import profile_text
from capanode.protocol.named_set import MOST_NAMED
from tests.chain.test_contracts import running_sender
from tests.cli.conftest import command


@pytest.mark.parametrize("has_court", [True, False])
async def test_the_court_of_a_network_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_court: bool
) -> None:
    async with run_anvil() as chain, open_rpc([chain.rpc_url], chain.chain_id) as rpc:
        plan = DeployPlan("test", (chain.rpc_url,), court_clocks=DEVNET_COURT_CLOCKS if has_court else None)
        async with running_sender(rpc, tmp_path / "deployer.sqlite", LocalSigner(development_key(0))) as sender:
            profile = await deploy(sender, plan)
        networks = tmp_path / "data" / "networks"
        networks.mkdir(parents=True)
        (networks / "default.toml").write_text(profile_text(profile), "utf-8")
        show = partial(command, "network", "show", "--court", "--data", str(tmp_path / "data"))
        assert await trio.to_thread.run_sync(show) == Exit.DONE
        told = capsys.readouterr().out
        assert await trio.to_thread.run_sync(partial(show, "--json")) == Exit.DONE
        found = json.loads(capsys.readouterr().out)
    assert (found["address"] is not None) == has_court
    if has_court:
        assert found["appeal_s"] == DEVNET_COURT_CLOCKS.appeal_time
        assert found["min_arbiters"] == DEVNET_COURT_CLOCKS.min_arbiters
        assert f"{DEVNET_COURT_CLOCKS.vote_time} s" in told
        assert "1 tokens" in told
        assert found["most_named"] == MOST_NAMED
    else:
        assert "no court" in told
