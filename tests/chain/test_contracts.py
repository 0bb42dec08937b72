"""A network is deployed, found through its directory, and used, on a real development chain."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.chain import wallet_calls
from capanode.node.chain.anvil import Anvil, development_key
from capanode.node.chain.blocks import FOLLOWER_SCHEMA, BlockRef
from capanode.node.chain.contracts import Contracts, UnknownContract, log_filter, resolve
from capanode.node.chain.deploy import (
    DEVNET_COURT_CLOCKS,
    PUBLIC_CLOCKS,
    PUBLIC_COURT_CLOCKS,
    PUBLIC_DIRECTORY_DELAY_S,
    DeployPlan,
    deploy,
    mint,
)
from capanode.node.chain.follower import DecodedLog, Follower, FollowerOptions
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.market import Market
from capanode.node.chain.pools import Pools
from capanode.node.chain.registry import Registry
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Mined, Sender, WouldRevert, open_sender
from capanode.node.chain.token import Token
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import quantity
from capanode.node.keys.peer_key import PeerKey
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import NetworkProfile
from capanode.node.paid.settlement import abi_terms
from capanode.node.storage.database import open_database
from capanode.protocol.ids import Address, DealId, Digest, SpecDigest, UnixTime, Wei
from capanode.protocol.judging import steps_word
from capanode.protocol.phases import Phase
from capanode.protocol.records import Mode, Terms
from capanode.protocol.typed_data import award_digest, demand_digest, domain

TOKENS = 10**18
REQUESTER, PROVIDER = LocalSigner(development_key(1)), LocalSigner(development_key(2))
PEER = PeerKey(b"\x07" * 32)


@asynccontextmanager
async def running_sender(rpc: Rpc, path: Path, signer: LocalSigner) -> AsyncGenerator[Sender]:
    async with (
        open_database(path, [TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, signer) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        yield sender
        nursery.cancel_scope.cancel()


async def done(sender: Sender, key: str, call: ContractCall) -> Mined:
    await sender.submit(key, call.to, call.data)
    with trio.fail_after(20):
        outcome = await sender.outcome(key)
    assert isinstance(outcome, Mined), outcome
    return outcome


async def deployed(anvil: Anvil, rpc: Rpc, folder: Path) -> tuple[NetworkProfile, Contracts]:
    async with running_sender(rpc, folder / "deployer.sqlite", LocalSigner(development_key(0))) as sender:
        profile = await deploy(sender, DeployPlan("test", (anvil.rpc_url,)))
        contracts = await resolve(rpc, profile)
        for holder in (REQUESTER, PROVIDER):
            await mint(sender, f"mint-{holder.address.hex()}", contracts.token, holder.address, Wei(1000 * TOKENS))
    return profile, contracts


async def test_deployment_can_be_repeated(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    async with running_sender(rpc, tmp_path / "deployer.sqlite", LocalSigner(development_key(0))) as sender:
        first = await deploy(sender, DeployPlan("test", (anvil.rpc_url,)))
        second = await deploy(sender, DeployPlan("test", (anvil.rpc_url,)))
    assert first == second
    contracts = await resolve(rpc, first)
    assert contracts.clocks.window_floor_s == first.window_floor_s == 5
    assert contracts.token_details.symbol == first.token_symbol
    assert contracts.court is not None
    facts = await Pools(rpc).court(contracts.court)
    assert facts.market == contracts.market
    assert facts.clocks == DEVNET_COURT_CLOCKS


async def test_a_market_can_do_without_a_court(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    async with running_sender(rpc, tmp_path / "deployer.sqlite", LocalSigner(development_key(0))) as sender:
        profile = await deploy(sender, DeployPlan("test", (anvil.rpc_url,), court_clocks=None))
    assert (await resolve(rpc, profile)).court is None


async def test_a_public_network_can_be_used_at_once(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    plan = DeployPlan(
        "test",
        (anvil.rpc_url,),
        clocks=PUBLIC_CLOCKS,
        court_clocks=PUBLIC_COURT_CLOCKS,
        directory_delay_s=PUBLIC_DIRECTORY_DELAY_S,
    )
    async with running_sender(rpc, tmp_path / "deployer.sqlite", LocalSigner(development_key(0))) as sender:
        contracts = await resolve(rpc, await deploy(sender, plan))
    assert contracts.clocks.window_floor_s == PUBLIC_CLOCKS.window_floor


async def test_foreign_code_is_refused_unless_approved(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    profile, contracts = await deployed(anvil, rpc, tmp_path)
    with pytest.raises(UnknownContract, match="no contract"):
        await resolve(rpc, replace(profile, directory=Address(b"\x01" * 20)))
    with pytest.raises(UnknownContract, match="not of this release") as refused:
        await resolve(rpc, replace(profile, directory=contracts.token))

    code_hash = str(refused.value).split("code hash ")[1][:66]
    with pytest.raises(Exception, match="names no active market"):
        await resolve(rpc, replace(profile, directory=contracts.token, approved_code=(code_hash,)))


async def test_money_moves_as_the_wallet_asks(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    _, contracts = await deployed(anvil, rpc, tmp_path)
    at, market, token = contracts.market, Market(rpc, contracts.market), Token(rpc, contracts.token)
    async with running_sender(rpc, tmp_path / "requester.sqlite", REQUESTER) as sender:
        permit = await token.permit(REQUESTER, at, Wei(100 * TOKENS), UnixTime(2**32))
        assert permit is not None
        await done(sender, "deposit", wallet_calls.deposit_with_permit(at, permit))
        await done(sender, "approve", token.approve(at, Wei(TOKENS)))
        await done(sender, "deposit-2", wallet_calls.deposit(at, Wei(TOKENS)))
        await done(sender, "earmark", wallet_calls.earmark(at, PROVIDER.address, Wei(30 * TOKENS)))
        await done(sender, "stake", wallet_calls.stake(at, Wei(20 * TOKENS)))
        await done(sender, "unearmark", wallet_calls.begin_unearmark(at, PROVIDER.address, Wei(10 * TOKENS)))
        await done(sender, "begin", wallet_calls.begin_withdraw(at, Wei(5 * TOKENS)))
        await done(sender, "unstake", wallet_calls.begin_unstake(at, Wei(TOKENS)))
        with pytest.raises(WouldRevert, match="thaw is not over"):
            await sender.submit("withdraw", at, wallet_calls.withdraw(at, REQUESTER.address).data)

        account = await market.account(REQUESTER.address)
        assert (account.free_wei, account.stake_wei) == (51 * TOKENS, 20 * TOKENS)
        earmark = await market.earmark(REQUESTER.address, PROVIDER.address)
        assert (earmark.amount_wei, earmark.thawing_wei) == (30 * TOKENS, 10 * TOKENS)
        withdrawal, unstaking = await market.thaws(REQUESTER.address)
        assert (withdrawal.amount_wei, unstaking.amount_wei) == (5 * TOKENS, TOKENS)

        await rpc.call_once("evm_increaseTime", 200)
        await rpc.call_once("evm_mine")
        both = (wallet_calls.withdraw(at, REQUESTER.address), wallet_calls.unstake(at))
        await done(sender, "take", wallet_calls.together(at, both))
        account = await market.account(REQUESTER.address)
        assert (account.free_wei, account.stake_wei) == (47 * TOKENS, 19 * TOKENS)
        assert await token.balance(REQUESTER.address) == 904 * TOKENS


async def test_nodes_and_hot_keys_stand_for_their_provider(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    _, contracts = await deployed(anvil, rpc, tmp_path)
    market, registry, token = (
        Market(rpc, contracts.market),
        Registry(rpc, contracts.registry),
        Token(rpc, contracts.token),
    )
    hot = LocalSigner(b"\x09" * 32)
    async with running_sender(rpc, tmp_path / "provider.sqlite", PROVIDER) as sender:
        assert await registry.binding(PEER.public_key) is None
        await done(sender, "register", registry.register(PEER, PROVIDER.address, "x86_64-v3"))
        binding = await registry.binding(PEER.public_key)
        assert binding is not None
        assert binding.owner == PROVIDER.address
        again = registry.register(PEER, PROVIDER.address, "x86_64-v3")
        with pytest.raises(WouldRevert, match="bound"):
            await sender.submit("register-2", again.to, again.data)

        await done(sender, "approve", token.approve(contracts.market, Wei(50 * TOKENS)))
        await done(sender, "deposit", wallet_calls.deposit(contracts.market, Wei(50 * TOKENS)))
        await done(sender, "stake", wallet_calls.stake(contracts.market, Wei(50 * TOKENS)))
        assert not (await market.standing(PROVIDER.address, hot.address)).may_sign
        await done(sender, "hot", wallet_calls.set_hot_key(contracts.market, hot.address, Wei(8 * TOKENS)))
        standing = await market.standing(PROVIDER.address, hot.address)
        assert standing.may_sign
        assert 8 * TOKENS <= standing.unlocked_wei < 8 * TOKENS + 2**32
        assert (await market.standing(PROVIDER.address, PROVIDER.address)).unlocked_wei == 50 * TOKENS
    assert (await registry.record(PROVIDER.address)).finalized == 0


async def test_deal_goes_the_whole_way_and_the_follower_sees_it(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> None:
    profile, contracts = await deployed(anvil, rpc, tmp_path)
    market, token = Market(rpc, contracts.market), Token(rpc, contracts.token)
    at_market = domain(rpc.chain_id, contracts.market)
    seen: list[object] = []

    def apply(connection: sqlite3.Connection, block: BlockRef, logs: tuple[DecodedLog, ...]) -> None:
        seen.extend(log.event for log in logs)

    def unwind(connection: sqlite3.Connection, block: BlockRef) -> None:
        raise AssertionError("nothing is reorganised here")

    async with (
        open_rpc([anvil.rpc_url], anvil.chain_id) as provider_rpc,
        running_sender(rpc, tmp_path / "requester.sqlite", REQUESTER) as requester,
        running_sender(provider_rpc, tmp_path / "provider.sqlite", PROVIDER) as provider,
        open_database(tmp_path / "follower.sqlite", [FOLLOWER_SCHEMA]) as database,
    ):
        for sender in (requester, provider):
            await done(sender, "approve", token.approve(contracts.market, Wei(100 * TOKENS)))
            await done(sender, "deposit", wallet_calls.deposit(contracts.market, Wei(100 * TOKENS)))
        await done(provider, "stake", wallet_calls.stake(contracts.market, Wei(100 * TOKENS)))

        head = HeadWatch()
        options = FollowerOptions(0, lag_patience_s=0)
        follower = Follower(rpc, database, log_filter(contracts, profile), options, apply, unwind, lambda: None, head)
        while await follower.step():
            pass
        assert head.head is not None
        now = head.head.next_time

        spec, input_root = SpecDigest(b"\x51" * 32), Digest(b"\x52" * 32)
        terms = Terms(
            requester=REQUESTER.address,
            provider=PROVIDER.address,
            demand_digest=demand_digest(spec, input_root, steps_word(None, 0, 1)),
            price_wei=Wei(10 * TOKENS),
            verification_wei=Wei(TOKENS),
            fraud_bond_wei=Wei(20 * TOKENS),
            assign_by=UnixTime(now + 60),
            commit_by=UnixTime(now + 120),
            window_s=5,
            mode=Mode.LOCK,
            salt=Digest(b"\x53" * 32),
        )
        digest = award_digest(at_market, terms)
        deal_id = DealId(digest)
        signature = REQUESTER.sign_digest(digest)
        assign = bindings.encode_deal_market_assign(abi_terms(terms), signature)
        await done(provider, "assign", ContractCall(contracts.market, assign))
        assert (await market.slot(deal_id)).phase is Phase.ASSIGNED
        with pytest.raises(WouldRevert, match=r"WrongPhase"):
            await provider.submit("assign-again", contracts.market, assign)

        commitment = bindings.Commitment(
            Digest(b"\x61" * 32), Digest(b"\x61" * 32), Digest(bytes(32)), Digest(bytes(32)), 1, 0, 10 * TOKENS
        )
        core = bindings.DemandCore(spec, input_root, 1)
        commit = bindings.encode_deal_market_commit(Address(bytes(20)), abi_terms(terms), core, deal_id, commitment)
        await done(provider, "commit", ContractCall(contracts.market, commit))
        while await follower.step():
            pass
        committed = next(event for event in seen if isinstance(event, bindings.DealCommitted))
        assert committed.deal_id == deal_id
        assert committed.amount == 10 * TOKENS

    kinds = [type(event).__name__ for event in seen]
    assert kinds[-2:] == ["DealAssigned", "DealCommitted"]
    assert kinds.count("Deposited") == 2
    await rpc.call_once("evm_increaseTime", quantity(10))
