"""Real chains and real files for the tests of this folder."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from capanode.node.chain.anvil import Anvil, AnvilOptions, development_key, run_anvil
from capanode.node.chain.blocks import FOLLOWER_SCHEMA
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.keys.signer import LocalSigner
from capanode.node.storage.database import Database, open_database


@pytest.fixture
async def anvil() -> AsyncGenerator[Anvil]:
    async with run_anvil() as chain:
        yield chain


@pytest.fixture
async def manual_anvil() -> AsyncGenerator[Anvil]:
    """A chain that makes blocks only when told."""
    async with run_anvil(AnvilOptions(is_mining=False)) as chain:
        yield chain


@pytest.fixture
async def rpc(anvil: Anvil) -> AsyncGenerator[Rpc]:
    async with open_rpc([anvil.rpc_url], anvil.chain_id) as opened:
        yield opened


@pytest.fixture
async def manual_rpc(manual_anvil: Anvil) -> AsyncGenerator[Rpc]:
    async with open_rpc([manual_anvil.rpc_url], manual_anvil.chain_id) as opened:
        yield opened


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    async with open_database(tmp_path / "node.sqlite", [TRANSACTIONS_SCHEMA, FOLLOWER_SCHEMA]) as opened:
        yield opened


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(development_key(0))
