"""The devnet's parties on a real chain: contracts deployed, everybody funded, every folder ready to start from."""

from pathlib import Path

import pytest

from capanode.node.chain.anvil import run_anvil
from capanode.node.chain.contracts import resolve
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.config_file import load_config
from capanode.node.data_folder import DataFolder
from capanode.node.devnet_parties import PROVIDER_GRANT, REQUESTER_GRANT
from capanode.node.keys.wallet import wallet_address
from capanode.node.network_profile import read_profile
from capanode.protocol.faults import Misconfigured
from deploy.setup_devnet import prepare


async def test_setup_makes_folders_that_nodes_can_start_from(tmp_path: Path) -> None:
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path, ["10.9.9.1", "10.9.9.2"], "10.9.9.9", chain_id=chain.chain_id)
        sellers = [DataFolder(tmp_path / "nodes" / f"provider-{n}") for n in (1, 2)]
        buyer = DataFolder(tmp_path / "nodes" / "requester")
        profiles = {read_profile(load_config(folder).profile_path) for folder in (*sellers, buyer)}
        (profile,) = profiles
        assert [address.split("/")[2] for address in profile.bootstrap] == ["10.9.9.1", "10.9.9.2"]
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            market = Market(rpc, (await resolve(rpc, profile)).market)
            for folder in sellers:
                account = await market.account(wallet_address(folder.wallet))
                assert account.stake_wei == PROVIDER_GRANT.stake_wei
                assert load_config(folder).p2p.announce
            bought_with = await market.account(wallet_address(buyer.wallet))
            assert bought_with.free_wei == REQUESTER_GRANT.deposit_wei
        with pytest.raises(Misconfigured, match="already"):
            await prepare(chain.rpc_url, tmp_path, ["10.9.9.1"], "10.9.9.9", chain_id=chain.chain_id)
