"""Money on its way from one market to the next: all of it arrives, in the runs that the thaws need, and only once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from capanode.node.assigned import provider_peers
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain import wallet_calls
from capanode.node.chain.anvil import Anvil, development_key
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.contracts import resolve
from capanode.node.chain.deploy import DEVNET_CLOCKS, DeployPlan, deploy, mint, publish_market
from capanode.node.chain.market import MarketAccount
from capanode.node.chain.markets import Markets
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import open_sender
from capanode.node.chain.token import Token
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.chain.wire import read_object, read_quantity
from capanode.node.keys.signer import LocalSigner
from capanode.node.paid.migration import SCHEMA, Migration
from capanode.node.storage.database import Database, open_database
from capanode.protocol.ids import Address, UnixTime, Wei
from tests.chain.test_contracts import done, running_sender

TOKENS = 10**18
OWNER, WALLET, PROVIDER = (LocalSigner(development_key(number)) for number in range(3))
SCHEMAS = (TRANSACTIONS_SCHEMA, SCHEMA, provider_peers.SCHEMA)


@dataclass(slots=True)
class Move:
    """A wallet with money of every kind in the older of two markets."""

    rpc: Rpc
    migration: Migration
    markets: Markets
    token: Token
    promised_wei: list[Wei]
    time: list[float] = field(default_factory=lambda: [0.0])

    async def run(self) -> Any:
        with trio.fail_after(30):
            return await self.migration.run(self.markets.newest())

    async def later(self, seconds: int) -> None:
        await self.rpc.call_once("evm_increaseTime", seconds)
        await self.rpc.call_once("evm_mine")
        self.time[0] = float(await chain_time(self.rpc))

    async def accounts(self) -> tuple[MarketAccount, MarketAccount]:
        """What is in the older market, and in the newer."""
        new, old = self.markets.adopted()
        return await old.contract.account(WALLET.address), await new.contract.account(WALLET.address)


async def chain_time(rpc: Rpc) -> UnixTime:
    return UnixTime(
        read_quantity(read_object(await rpc.call("eth_getBlockByNumber", "latest", False)).get("timestamp"))
    )


@pytest.fixture
async def move(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> AsyncGenerator[Move]:
    async with opened(anvil, rpc, tmp_path) as found:
        yield found


@asynccontextmanager
async def opened(anvil: Anvil, rpc: Rpc, folder: Path) -> AsyncGenerator[Move]:
    async with running_sender(rpc, folder / "owner.sqlite", OWNER) as owner:
        profile = await deploy(owner, DeployPlan("test", (anvil.rpc_url,)))
        old = await resolve(rpc, profile)
        await mint(owner, "mint", old.token, WALLET.address, Wei(200 * TOKENS))
        await publish_market(owner, "second", profile.directory, old.token, DEVNET_CLOCKS)
    token = Token(rpc, old.token)
    async with (
        open_database(folder / "node.sqlite", SCHEMAS) as database,
        open_sender(rpc, database, WALLET) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        permit = await token.permit(WALLET, old.market, Wei(170 * TOKENS), UnixTime(2**32))
        assert permit is not None
        calls = (
            wallet_calls.deposit_with_permit(old.market, permit),
            wallet_calls.stake(old.market, Wei(50 * TOKENS)),
            wallet_calls.earmark(old.market, PROVIDER.address, Wei(20 * TOKENS)),
        )
        await done(sender, "fund", wallet_calls.together(old.market, calls))
        await know(database, PROVIDER.address)
        time, promised = [float(await chain_time(rpc))], [Wei(0)]
        clock = ChainClock(lambda: time[0])
        markets = Markets((await resolve(rpc, profile)).markets, lambda: UnixTime(2**39))
        peers = ProviderPeers(database)
        migration = Migration(rpc, database, sender, WALLET, markets, token, peers, clock, lambda _: promised[0])
        yield Move(rpc, migration, markets, token, promised, time)
        nursery.cancel_scope.cancel()


async def know(database: Database, provider: Address) -> None:
    """A provider that this node has heard of."""
    query = "INSERT INTO provider_peer (owner, peer_address, peer_id) VALUES (?, ?, 'peer')"
    await database.write("test", lambda connection: connection.execute(query, (provider, bytes(20))))


async def test_everything_arrives_in_the_runs_that_the_thaws_need(move: Move) -> None:
    first = await move.run()
    assert (first["moved_wei"], first["staked_wei"], first["is_done"]) == (0, 0, False)
    waiting = {entry["what"].split()[0]: entry for entry in first["waiting"]}
    assert {what: entry["amount_wei"] for what, entry in waiting.items()} == {
        "free": 100 * TOKENS,
        "stake": 50 * TOKENS,
        "earmark": 20 * TOKENS,
    }
    assert waiting["stake"]["ready_at"] > waiting["free"]["ready_at"]
    assert (waiting["free"]["then_s"], waiting["stake"]["then_s"]) == (0, DEVNET_CLOCKS.free_thaw)

    again = await move.run()
    assert again["waiting"] == first["waiting"], "asking again begins no thaw anew"

    await move.later(61)
    second = await move.run()
    assert (second["moved_wei"], second["staked_wei"]) == (100 * TOKENS, 50 * TOKENS)
    old, new = await move.accounts()
    assert (old.free_wei, old.stake_wei) == (20 * TOKENS, 50 * TOKENS)
    assert (new.free_wei, new.stake_wei) == (50 * TOKENS, 50 * TOKENS)

    await move.later(60)
    assert (await move.run())["moved_wei"] == 20 * TOKENS
    await move.later(61)
    last = await move.run()
    assert (last["moved_wei"], last["staked_wei"], last["is_done"]) == (50 * TOKENS, 0, True)
    old, new = await move.accounts()
    assert (old.free_wei, old.stake_wei) == (0, 0)
    assert (new.free_wei, new.stake_wei) == (120 * TOKENS, 50 * TOKENS)
    assert await move.token.balance(WALLET.address) == 30 * TOKENS
    assert (await move.run())["moved_wei"] == 0


async def test_a_run_that_is_cut_off_after_the_withdrawal_is_taken_up_by_the_next(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move.run()
    await move.later(61)

    async def cut_off(*_: object) -> Wei:
        raise trio.ClosedResourceError("the process ended here")

    with monkeypatch.context() as patch:
        patch.setattr(Migration, "_deposit", cut_off)
        with pytest.raises(trio.ClosedResourceError):
            await move.run()
    assert await move.token.balance(WALLET.address) == 130 * TOKENS
    assert (await move.run())["moved_wei"] == 100 * TOKENS
    assert (await move.run())["moved_wei"] == 0
    assert await move.token.balance(WALLET.address) == 30 * TOKENS


async def test_open_jobs_keep_what_they_count_on(move: Move) -> None:
    move.promised_wei[0] = Wei(30 * TOKENS)
    first = await move.run()
    assert first["kept_wei"] == 30 * TOKENS
    await move.later(61)
    # A job that was submitted since counts on more than what was left.
    move.promised_wei[0] = Wei(40 * TOKENS)
    held = await move.run()
    assert (held["moved_wei"], held["kept_wei"]) == (0, 40 * TOKENS)
    move.promised_wei[0] = Wei(0)
    assert (await move.run())["moved_wei"] == 70 * TOKENS
