"""The deal's transactions on a real chain: races have one winner, and asking twice sends once."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.announced.locator import locator_of
from capanode.node.chain import wallet_calls
from capanode.node.chain.anvil import development_key, run_anvil
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.deploy import DeployPlan, deploy, mint
from capanode.node.chain.intake import deal_event
from capanode.node.chain.market import Market
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Mined, Pending, Reverted, Sender, SenderOptions, open_sender
from capanode.node.chain.token import Token
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import hexadecimal, quantity, read_object, read_quantity
from capanode.node.keys.signer import LocalSigner
from capanode.node.paid.settlement import Settlement, abi_terms, terms_of_abi
from capanode.node.storage.database import open_database
from capanode.proofs.tree import input_root
from capanode.protocol import provider, requester
from capanode.protocol.awards import signed_digest
from capanode.protocol.events import DealCommitted, TransactionRefused, WorkTaken
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, Digest, PeerId, TxHash, UnixTime, Wei
from capanode.protocol.judging import steps_word
from capanode.protocol.phases import Phase
from capanode.protocol.records import Demand, Mode, SignedAward, Terms
from capanode.protocol.typed_data import announcement_deal_id, award_digest, demand_digest, domain, spec_digest
from tests.fakes.rpc_proxy import RpcProxy, run_rpc_proxies
from tests.fakes.rpc_trouble import Dice
from tests.protocol import deals
from tests.protocol.deals import FINISHED, SPEC

TOKENS = 10**18
WALLET, ONE, TWO = (LocalSigner(development_key(number)) for number in (1, 2, 3))
PRICE, DEPOSIT = Wei(10 * TOKENS), Wei(TOKENS)
NO_DOUBTS = ()
"""Refusals are believed at once: this chain does not change its mind."""
NO_HOT_KEY = ZERO_ADDRESS
"""What the market says when a provider's own wallet locked the bonds."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A market with a requester and two providers that have money in it."""

    url: str
    rpc: Rpc
    contracts: Contracts
    senders: dict[Address, Sender]

    @property
    def market(self) -> Market:
        return Market(self.rpc, self.contracts.market)

    def settlement(self, signer: LocalSigner) -> Settlement:
        return Settlement(self.senders[signer.address], self.contracts.market, NO_DOUBTS)

    async def now(self) -> UnixTime:
        return UnixTime(
            read_quantity(read_object(await self.rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"])
        )

    async def next_block_at(self, at: int) -> None:
        await self.rpc.call_once("evm_setNextBlockTimestamp", quantity(at))

    async def phase(self, deal: DealId) -> Phase:
        return (await self.market.slot(deal)).phase

    async def transactions(self, signer: LocalSigner) -> int:
        return await self.senders[signer.address].mined_count()


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Chain]:
    async with AsyncExitStack() as stack:
        anvil = await stack.enter_async_context(run_anvil())
        rpc = await stack.enter_async_context(open_rpc([anvil.rpc_url], anvil.chain_id))
        nursery = await stack.enter_async_context(trio.open_nursery())
        senders: dict[Address, Sender] = {}
        for number, signer in enumerate((LocalSigner(development_key(0)), WALLET, ONE, TWO)):
            path = folder / f"{number}.sqlite"
            database = await stack.enter_async_context(open_database(path, [TRANSACTIONS_SCHEMA]))
            options = SenderOptions(poll_s=0.05, mined_poll_s=0.05)
            sender = await stack.enter_async_context(open_sender(rpc, database, signer, options=options))
            senders[signer.address] = sender
            await nursery.start(run_sender, sender)
        deployer = next(iter(senders.values()))
        contracts = await resolve(rpc, await deploy(deployer, DeployPlan("test", (anvil.rpc_url,))))
        token = Token(rpc, contracts.token)
        for signer in (WALLET, ONE, TWO):
            sender, amount = senders[signer.address], Wei(200 * TOKENS)
            await mint(deployer, f"mint-{signer.address.hex()}", contracts.token, signer.address, amount)
            await done(sender, "approve", token.approve(contracts.market, amount))
            await done(sender, "deposit", wallet_calls.deposit(contracts.market, amount))
        for signer in (ONE, TWO):
            stake = wallet_calls.stake(contracts.market, Wei(100 * TOKENS))
            await done(senders[signer.address], "stake", stake)
        yield Chain(anvil.rpc_url, rpc, contracts, senders)
        nursery.cancel_scope.cancel()


async def done(sender: Sender, key: str, call: ContractCall) -> None:
    await sender.submit(key, call.to, call.data)
    assert isinstance(await sender.outcome(key), Mined)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncGenerator[Chain]:
    with trio.fail_after(60):
        async with opened(tmp_path) as found:
            yield found


# ---- deals ----------------------------------------------------------------------------------------------------------


def wanted(mode: Mode, found: DealId | None) -> Demand:
    return replace(
        deals.demand(mode),
        requester=WALLET.address,
        spec=spec_digest(SPEC),
        input_root=input_root(SPEC.inputs),
        price_cap_wei=PRICE,
        verification_wei=DEPOSIT,
        deal_id=found,
    )


async def terms(chain: Chain, mode: Mode, **changes: Any) -> Terms:
    now = await chain.now()
    made = Terms(
        requester=WALLET.address,
        provider=ZERO_ADDRESS,
        demand_digest=demand_digest(spec_digest(SPEC), input_root(SPEC.inputs), steps_word(None, 0, 1)),
        price_wei=PRICE,
        verification_wei=DEPOSIT,
        fraud_bond_wei=Wei(20 * TOKENS),
        assign_by=UnixTime(now + 1000),
        commit_by=UnixTime(now + 2000),
        window_s=5,
        mode=mode,
        salt=Digest(b"\x08" * 32),
    )
    return replace(made, **changes)


def announcing(chain: Chain, announcement: Terms) -> requester.Announcing:
    found = announcement_deal_id(domain(chain.rpc.chain_id, chain.contracts.market), announcement)
    job = replace(
        deals.submitted(announcement.mode), demand=wanted(announcement.mode, found), announcement=announcement
    )
    started = requester.submit(job).job
    assert isinstance(started, requester.Announcing)
    return started


async def announced(chain: Chain, mode: Mode = Mode.FIRST) -> tuple[requester.Announcing, DealId]:
    job = announcing(chain, await terms(chain, mode))
    locator = locator_of(PeerId("16Uiu2requester"), ())
    assert await chain.settlement(WALLET).announce(job, locator) is None
    assert job.order.demand.deal_id is not None
    return job, job.order.demand.deal_id


def work(job: requester.Announcing, taker: LocalSigner) -> provider.Work:
    """A posted price as that provider takes it."""
    announcement, found = job.order.announcement, job.order.demand.deal_id
    assert announcement is not None
    assert found is not None
    award = SignedAward(replace(announcement, provider=taker.address), found, b"\0")
    taken = provider.take(WorkTaken(found, award, job.order.demand, SPEC, PeerId("16Uiu2requester")))
    assert isinstance(taken.deal, provider.Preparing)
    return taken.deal.work


async def locked(chain: Chain, **changes: Any) -> provider.Work:
    """A LOCK award to provider one."""
    bound = await terms(chain, Mode.LOCK, provider=ONE.address, **changes)
    at = domain(chain.rpc.chain_id, chain.contracts.market)
    award = SignedAward(bound, None, WALLET.sign_digest(signed_digest(at, bound, None)))
    found = DealId(award_digest(at, bound))
    taken = provider.take(WorkTaken(found, award, wanted(Mode.LOCK, None), SPEC, PeerId("16Uiu2requester")))
    assert isinstance(taken.deal, provider.Preparing)
    return taken.deal.work


async def test_one_of_two_providers_gets_an_announced_demand(chain: Chain) -> None:
    job, found = await announced(chain)
    answers: dict[Address, TransactionRefused | None] = {}

    async def assign(taker: LocalSigner) -> None:
        answers[taker.address] = await chain.settlement(taker).assign(provider.Assigning(work(job, taker)))

    before = {signer.address: (await chain.market.account(signer.address)).stake_wei for signer in (ONE, TWO)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(assign, ONE)
        nursery.start_soon(assign, TWO)
    won, lost = sorted(answers, key=lambda address: answers[address] is not None)
    refusal = answers[lost]
    assert answers[won] is None
    assert refusal is not None
    assert refusal.verb == "assign"
    assert await chain.phase(found) is Phase.ASSIGNED
    loser = await chain.market.account(lost)
    assert (loser.stake_wei, loser.locked_wei) == (before[lost], 0), "who comes second loses nothing"
    lost_deal = provider.step(provider.Assigning(work(job, TWO)), refusal, TWO.address, 0).deal
    assert isinstance(lost_deal, provider.Lost)
    assert lost_deal.burned_wei == 0


async def test_a_cancel_and_an_assignment_exclude_each_other(chain: Chain) -> None:
    job, found = await announced(chain)
    withdrawing = requester.Withdrawing(job.order, "", renew=False)
    answer: list[TransactionRefused | None] = []

    async def assign() -> None:
        answer.append(await chain.settlement(ONE).assign(provider.Assigning(work(job, ONE))))

    async def cancel() -> None:
        # Too late, it is a matter of time for the command: the log of the assignment calls it off.
        with suppress(Unavailable):
            await chain.settlement(WALLET).cancel(withdrawing)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        nursery.start_soon(assign)
    account = await chain.market.account(WALLET.address)
    if answer == [None]:
        assert await chain.phase(found) is Phase.ASSIGNED
        assert account.free_wei == 200 * TOKENS - PRICE - DEPOSIT
    else:
        assert await chain.phase(found) is Phase.CANCELLED
        assert account.free_wei == 200 * TOKENS


async def test_what_is_asked_twice_is_sent_once(chain: Chain) -> None:
    taken = await locked(chain)
    for _ in range(3):
        assert await chain.settlement(ONE).assign(provider.Assigning(taken)) is None
    assert await chain.transactions(ONE) == 4, "approve, deposit, stake, assign"
    for _ in range(2):
        assert await chain.settlement(ONE).commit(provider.Committing(taken, NO_HOT_KEY, FINISHED)) is None
    assert await chain.transactions(ONE) == 5
    assert await chain.phase(taken.deal_id) is Phase.COMMITTED


async def test_a_commit_that_the_journal_has_forgotten_is_not_refused(chain: Chain, tmp_path: Path) -> None:
    taken = await locked(chain)
    await chain.settlement(ONE).assign(provider.Assigning(taken))
    committing = provider.Committing(taken, NO_HOT_KEY, FINISHED)
    assert await chain.settlement(ONE).commit(committing) is None
    async with (
        open_database(tmp_path / "restored.db", [TRANSACTIONS_SCHEMA]) as database,
        open_sender(chain.rpc, database, ONE) as forgetful,
    ):
        assert await Settlement(forgetful, chain.market.address, NO_DOUBTS).commit(committing) is None


async def test_a_refusal_by_an_endpoint_that_is_behind_is_not_believed(chain: Chain, tmp_path: Path) -> None:
    taken = await locked(chain)
    await chain.settlement(ONE).assign(provider.Assigning(taken))
    proxy = RpcProxy(chain.url, Dice(seed=0, rate=0.0))
    async with (
        run_rpc_proxies([proxy]) as urls,
        open_rpc(urls, chain.rpc.chain_id) as rpc,
        open_database(tmp_path / "behind.db", [TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, ONE, options=SenderOptions(poll_s=0.05)) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        await proxy.fall_behind(blocks=1, requests=1_000_000)

        def doubts() -> Iterator[float]:
            yield 0.0
            yield 0.0
            proxy.heal()
            yield 0.0

        settlement = Settlement(sender, chain.contracts.market, doubts())
        assert await settlement.commit(provider.Committing(taken, NO_HOT_KEY, FINISHED)) is None
        assert proxy.dice.requests > 2
        assert await chain.phase(taken.deal_id) is Phase.COMMITTED
        nursery.cancel_scope.cancel()


async def test_an_assignment_that_came_before_its_announcement_is_sent_again(chain: Chain) -> None:
    """A reorganisation takes both back, and the assignment is mined first: it was no refusal of the deal."""
    job, found = await announced(chain)
    key, sender = f"{found.hex()}/assign", chain.senders[ONE.address]
    coins = read_quantity(await chain.rpc.call("eth_getBalance", hexadecimal(WALLET.address), "latest"))

    async def assign() -> None:
        settlement = Settlement(sender, chain.contracts.market, repeat(0.05))
        assert await settlement.assign(provider.Assigning(work(job, ONE))) is None

    await chain.rpc.call_once("evm_setAutomine", False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(assign)
        while not isinstance(await sender.status(key), Pending):
            await trio.lowlevel.checkpoint()
        # The announcement cannot come back meanwhile.
        await chain.rpc.call_once("anvil_setBalance", hexadecimal(WALLET.address), "0x0")
        await chain.rpc.call_once("anvil_reorg", 1, [])
        while not isinstance(await sender.status(key), Reverted):
            await chain.rpc.call_once("evm_mine")
        await chain.rpc.call_once("anvil_setBalance", hexadecimal(WALLET.address), quantity(coins))
        await chain.rpc.call_once("evm_setAutomine", True)
        await chain.rpc.call_once("evm_mine")
    assert await chain.phase(found) is Phase.ASSIGNED


async def test_a_commit_in_the_last_second_counts(chain: Chain) -> None:
    taken = await locked(chain)
    await chain.settlement(ONE).assign(provider.Assigning(taken))
    late = (taken.deal_id, taken.terms, NO_HOT_KEY)
    await chain.next_block_at(taken.terms.commit_by)
    with pytest.raises(Unavailable, match="expire is not possible yet"):
        await chain.settlement(WALLET).expire(*late)
    assert await chain.settlement(ONE).commit(provider.Committing(taken, NO_HOT_KEY, FINISHED)) is None
    assert await chain.now() == taken.terms.commit_by
    assert await chain.phase(taken.deal_id) is Phase.COMMITTED
    with pytest.raises(Unavailable, match="expire is not possible yet"):
        await chain.settlement(WALLET).expire(*late)


@pytest.mark.parametrize("sender", [WALLET, ONE], ids=["by its requester", "by the provider itself"])
async def test_a_second_later_the_money_goes_back(chain: Chain, sender: LocalSigner) -> None:
    taken = await locked(chain)
    await chain.settlement(ONE).assign(provider.Assigning(taken))
    await chain.next_block_at(taken.terms.commit_by + 1)
    await chain.rpc.call_once("evm_mine")
    refusal = await chain.settlement(ONE).commit(provider.Committing(taken, NO_HOT_KEY, FINISHED))
    assert isinstance(refusal, TransactionRefused)
    await chain.settlement(sender).expire(taken.deal_id, taken.terms, NO_HOT_KEY)
    assert await chain.phase(taken.deal_id) is Phase.REFUNDED
    assert (await chain.market.account(ONE.address)).locked_wei == 0
    assert (await chain.market.account(WALLET.address)).free_wei >= 200 * TOKENS


async def test_an_award_to_another_or_an_altered_one_is_refused_by_the_chain(chain: Chain) -> None:
    taken = await locked(chain)
    assert isinstance(await chain.settlement(TWO).assign(provider.Assigning(taken)), TransactionRefused)
    cheaper = replace(taken.award, terms=replace(taken.terms, price_wei=Wei(1)))
    altered = replace(taken, award=cheaper, deal_id=DealId(b"\x55" * 32))
    assert isinstance(await chain.settlement(ONE).assign(provider.Assigning(altered)), TransactionRefused)
    assert await chain.transactions(TWO) == 3, "what would be refused is not sent"


async def test_an_expired_award_is_refused_by_the_chain(chain: Chain) -> None:
    taken = await locked(chain)
    await chain.next_block_at(taken.terms.assign_by + 1)
    await chain.rpc.call_once("evm_mine")
    assert isinstance(await chain.settlement(ONE).assign(provider.Assigning(taken)), TransactionRefused)


@pytest.mark.parametrize("sender", [ONE, WALLET], ids=["by its provider", "by the requester, for its deposit"])
async def test_a_claim_before_its_time_is_asked_again(chain: Chain, sender: LocalSigner) -> None:
    taken = await locked(chain)
    await chain.settlement(ONE).assign(provider.Assigning(taken))
    await chain.settlement(ONE).commit(provider.Committing(taken, NO_HOT_KEY, FINISHED))
    committed = await committed_in(chain, taken)
    with pytest.raises(Unavailable, match="claim is not possible yet"):
        await chain.settlement(sender).claim(taken.terms, committed)
    await chain.next_block_at(await chain.now() + taken.terms.window_s + 1)
    await chain.rpc.call_once("evm_mine")
    await chain.settlement(sender).claim(taken.terms, committed)
    assert await chain.phase(taken.deal_id) is Phase.FINALIZED
    # The deposit went back, the price did not.
    assert (await chain.market.account(WALLET.address)).free_wei == 200 * TOKENS - PRICE


async def committed_in(chain: Chain, taken: provider.Work) -> DealCommitted:
    """The commitment as the chain's log tells it."""
    logs: Any = await chain.rpc.call(
        "eth_getLogs",
        {"fromBlock": "0x0", "topics": ["0x" + bindings.DealCommitted.TOPIC.hex(), "0x" + taken.deal_id.hex()]},
    )
    (log,) = logs
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    found = bindings.decode_log(topics, bytes.fromhex(log["data"][2:]))
    event = deal_event(found, TxHash(bytes.fromhex(log["transactionHash"][2:])), await chain.now())
    assert isinstance(event, DealCommitted)
    assert event.deal_id == taken.deal_id
    return event


async def test_what_is_announced_comes_back_as_it_was(chain: Chain) -> None:
    announcement = await terms(chain, Mode.AWARD)
    assert terms_of_abi(abi_terms(announcement)) == announcement


def order() -> requester.Order:
    job = requester.submit(deals.submitted()).job
    assert isinstance(job, requester.Bidding)
    return job.order
