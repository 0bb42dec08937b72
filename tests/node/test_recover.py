"""A lost machine loses no money: from keystore and chain alone, everything comes back to the last base unit."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.api.port import Json
from capanode.node.chain import wallet_calls
from capanode.node.chain.anvil import development_key
from capanode.node.chain.token import Token
from capanode.node.chain.wire import hexadecimal
from capanode.node.cli.networks import adopted
from capanode.node.cli.recovering import Wanted, lines, place_keystore, recovered
from capanode.node.data_folder import DataFolder, held
from capanode.node.keys.signer import LocalSigner
from capanode.node.keys.wallet import ScryptCost, import_wallet
from capanode.node.network_profile import NetworkProfile, profile_text
from capanode.node.paid.settlement import abi_terms
from capanode.node.recovery.calldata import find_terms
from capanode.protocol import provider
from capanode.protocol.events import WorkTaken
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import DealId, Digest, PeerId, UnixTime, Wei
from capanode.protocol.money import deadline_bond_wei
from capanode.protocol.records import Mode, SignedAward
from capanode.protocol.typed_data import award_digest, domain
from tests.node.test_settlement import (
    DEPOSIT,
    NO_HOT_KEY,
    ONE,
    PRICE,
    TOKENS,
    TWO,
    WALLET,
    Chain,
    announced,
    done,
    locked,
    opened,
    terms,
    wanted,
    work,
)
from tests.protocol.deals import FINISHED, SPEC

HAD = 200 * TOKENS
KEYS = {WALLET.address: 1, ONE.address: 2, TWO.address: 3}
LOOK = Wanted(execute=False, withdraw=False, abandon=False, to=None)
GET_DUE = replace(LOOK, execute=True)
GET_ALL = replace(GET_DUE, withdraw=True)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncGenerator[Chain]:
    with trio.fail_after(110):
        async with opened(tmp_path) as found:
            yield found


@asynccontextmanager
async def empty_folder(chain: Chain, signer: LocalSigner, root: Path) -> AsyncGenerator[DataFolder]:
    """A new machine: a copy of the keystore, the network's profile, and nothing else."""
    root.mkdir()
    keystore, profile, password = root / "copy.json", root / "network.toml", root / "password"
    await import_wallet(keystore, development_key(KEYS[signer.address]), "secret", ScryptCost.DEVNET)
    password.write_text("secret")
    password.chmod(0o600)
    url = chain.rpc.health()[0].name
    profile.write_text(profile_text(NetworkProfile("test", chain.rpc.chain_id, (url,), chain.contracts.directory)))
    folder = DataFolder(root / "data")
    place_keystore(folder, keystore)
    adopted(str(profile), folder.root)
    yield folder


async def run(folder: DataFolder, wanted: Wanted) -> Json:
    password = folder.root.parent / "password"
    return await trio.to_thread.run_sync(partial(recovered, folder, wanted, password, lambda _: None))


async def direct(chain: Chain) -> provider.Work:
    """A DIRECT award to provider one, out of an earmark."""
    earmark = wallet_calls.earmark(chain.contracts.market, ONE.address, Wei(15 * TOKENS))
    await done(chain.senders[WALLET.address], "earmark", earmark)
    bound = await terms(chain, Mode.DIRECT, provider=ONE.address, salt=Digest(b"\x33" * 32))
    found = DealId(award_digest(domain(chain.rpc.chain_id, chain.contracts.market), bound))
    award = SignedAward(bound, None, WALLET.sign_digest(Digest(found)))
    taken = provider.take(WorkTaken(found, award, wanted(Mode.DIRECT, None), SPEC, PeerId("16Uiu2requester")))
    assert isinstance(taken.deal, provider.Preparing)
    return taken.deal.work


async def sold(chain: Chain, taken: provider.Work) -> None:
    """Bound, where that is a transaction of its own, and committed."""
    if taken.terms.mode is not Mode.DIRECT:
        assert await chain.settlement(ONE).assign(provider.Assigning(taken)) is None
    assert await chain.settlement(ONE).commit(provider.Committing(taken, NO_HOT_KEY, FINISHED)) is None


async def later(chain: Chain, at: int) -> None:
    if at > await chain.now():
        await chain.next_block_at(at)
        await chain.rpc.call_once("evm_mine")


async def balance(chain: Chain, signer: LocalSigner) -> int:
    return await Token(chain.rpc, chain.contracts.token).balance(signer.address)


async def until_empty(chain: Chain, folder: DataFolder) -> Json:
    """Run as often as it says that more can be done; the last view."""
    clocks, view = chain.contracts.clocks, dict[str, Any]()
    for _ in range(6):
        view = await run(folder, GET_ALL)
        assert [one["refusal"] for one in view["sent"]] == [""] * len(view["sent"])
        if view["next_at"] is None:
            return view
        await later(chain, await chain.now() + max(clocks.free_thaw_s, clocks.earmark_thaw_s, clocks.stake_thaw_s) + 1)
    raise AssertionError(view)


async def test_everything_of_both_sides_comes_back(chain: Chain, tmp_path: Path) -> None:
    now = await chain.now()
    late = await locked(chain, assign_by=UnixTime(now + 50), commit_by=UnixTime(now + 60), salt=Digest(b"\x11" * 32))
    assert await chain.settlement(ONE).assign(provider.Assigning(late)) is None
    await sold(chain, await locked(chain, salt=Digest(b"\x22" * 32)))
    await sold(chain, await direct(chain))
    job, _ = await announced(chain, Mode.FIRST)
    await sold(chain, work(job, ONE))
    _, waiting = await announced(chain, Mode.AWARD)
    sales, bond = 3, deadline_bond_wei(PRICE)

    async with empty_folder(chain, WALLET, tmp_path / "buyer") as folder:
        seen = await run(folder, LOOK)
        (market,) = seen["markets"]
        phases = sorted(deal["phase"] for deal in market["deals"])
        assert phases == ["ANNOUNCED", "ASSIGNED", "COMMITTED", "COMMITTED", "COMMITTED"]
        assert seen["sent"] == []
        assert all(deal["sides"] == ["requester"] and not deal["trouble"] for deal in market["deals"])
        due = {deal["deal_id"] for deal in market["deals"] if deal["is_due"]}
        assert due == {hexadecimal(waiting)}, "the others' clocks are not over"
        assert seen["next_at"] is not None
        assert any("brings back 11 tokens" in line for line in lines(seen))

        await later(chain, now + 120)
        view = await run(folder, GET_DUE)
        assert sorted(one["what"].split()[0] for one in view["sent"]) == ["cancel", "claim", "claim", "claim", "expire"]
        account = await chain.market.account(WALLET.address)
        reward = min(chain.contracts.clocks.expire_reward_wei, bond)
        left_in_earmark = 15 * TOKENS - PRICE - DEPOSIT
        assert account.free_wei == HAD - sales * PRICE - left_in_earmark + reward
        assert (await run(folder, GET_DUE))["sent"] == [], "what was done once is not done again"

        last = await until_empty(chain, folder)
        assert await balance(chain, WALLET) == HAD - sales * PRICE + reward
        assert last["markets"][0]["free_wei"] == 0
        assert last["markets"][0]["deals"] == []
        assert last["markets"][0]["ended_deals"] == 5

    async with empty_folder(chain, ONE, tmp_path / "seller") as folder:
        last = await until_empty(chain, folder)
        assert last["markets"][0]["stake_wei"] == 0
        assert await balance(chain, ONE) == HAD + sales * PRICE - bond
    # Nothing is left in the market but what others have there and what was burned.
    held_by_market = await Token(chain.rpc, chain.contracts.token).balance(chain.contracts.market)
    assert held_by_market == HAD + bond - reward


async def test_a_providers_lost_machine_is_paid_for_what_it_committed_to(chain: Chain, tmp_path: Path) -> None:
    await sold(chain, await locked(chain))
    open_work = await locked(chain, salt=Digest(b"\x44" * 32))
    assert await chain.settlement(ONE).assign(provider.Assigning(open_work)) is None
    before = await chain.market.account(ONE.address)
    async with empty_folder(chain, ONE, tmp_path / "seller") as folder:
        await later(chain, await chain.now() + 30)
        view = await run(folder, replace(GET_DUE, abandon=True))
        assert sorted(one["what"].split()[0] for one in view["sent"]) == ["abandon", "claim"]
        after = await chain.market.account(ONE.address)
        assert after.free_wei - before.free_wei == PRICE
        assert before.stake_wei - after.stake_wei == PRICE // 100, "a hundredth, not the whole bond"
        assert after.locked_wei == 0


async def test_it_stays_away_from_a_folder_in_use_and_from_another_wallet(chain: Chain, tmp_path: Path) -> None:
    async with empty_folder(chain, WALLET, tmp_path / "buyer") as folder:
        with held(folder), pytest.raises(Misconfigured, match="in use by the node"):
            await run(folder, GET_DUE)
        other = tmp_path / "other.json"
        await import_wallet(other, development_key(3), "secret", ScryptCost.DEVNET)
        with pytest.raises(Misconfigured, match="another wallet"):
            place_keystore(folder, other)
    with pytest.raises(Misconfigured, match="--keystore"):
        place_keystore(DataFolder(tmp_path / "none"), None)


async def test_terms_are_found_wherever_they_are_carried_and_nowhere_else(chain: Chain) -> None:
    bound = (await locked(chain)).terms
    at = domain(chain.rpc.chain_id, chain.contracts.market)
    found = DealId(award_digest(at, bound))
    call = bindings.encode_deal_market_assign(abi_terms(bound), b"\x01" * 65)
    nested = bindings.encode_deal_market_multicall([b"\x00" * 7, call])
    for data in (call, nested, b"\x99" * 13 + nested):
        assert find_terms(data, at, found, WALLET.address) == bound
    forged = bindings.encode_deal_market_assign(abi_terms(replace(bound, price_wei=Wei(1))), b"")
    for data in (b"", forged, call[:200], bytes(12) + WALLET.address, (bytes(12) + WALLET.address) * 9000):
        assert find_terms(data, at, found, WALLET.address) is None
