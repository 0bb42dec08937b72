"""One stake, two machines: the second one gets a card, the wallet's machine takes it, and the second one may start."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from capanode.node.chain.anvil import run_anvil
from capanode.node.chain.contracts import resolve
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.data_folder import DataFolder
from capanode.node.devnet_parties import TOKEN, join
from capanode.node.keys.wallet import wallet_address
from capanode.node.network_profile import read_profile
from capanode.protocol.ids import Address
from deploy.setup_devnet import prepare
from tests.devnet.processes import running, said

ANY_PORT = {"CAPANODE_P2P__PORT": "0", "CAPANODE_ROLES": "provider"}


@pytest.mark.timeout(180)
async def test_second_machine_works_under_the_same_stake(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path / "net" / "nodes" / "provider-1"), DataFolder(tmp_path / "second")
    async with run_anvil() as chain:
        await prepare(chain.rpc_url, tmp_path / "net", ["127.0.0.1"], "127.0.0.1", chain_id=chain.chain_id)
        profile = replace(read_profile(first.networks / "devnet.toml"), bootstrap=())
        join(first, profile)
        wallet = wallet_address(first.wallet)
        handed_over = str(first.networks / "devnet.toml")
        await said((), second, "network", "use", handed_over)
        card = json.loads(await said((), second, "node", "key", "--owner", f"0x{wallet.hex()}", "--json"))
        async with running((), first, ANY_PORT):
            await said((), first, "node", "add", card["card"], "--ceiling", "50")
        async with running((), second, ANY_PORT) as status:
            assert status["wallet"]["address"] == f"0x{wallet.hex()}"
            assert status["peer_id"] == card["peer_id"]
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            market = Market(rpc, (await resolve(rpc, profile)).market)
            key = await market.hot_key(wallet, Address(bytes.fromhex(card["hot_key"][2:])))
        assert 50 * TOKEN <= key.ceiling_wei < 50 * TOKEN + 2**32
