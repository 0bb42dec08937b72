"""Claims that are due together are paid by one transaction, each once, and none holds up the others."""

from collections.abc import Sequence

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.chain.fees import GWEI
from capanode.node.chain.sender import Reverted
from capanode.node.chain.transactions import Attempt, Fees, Order, Prepared
from capanode.node.paid.claims import Claims
from capanode.node.paid.settlement import claim_of
from capanode.protocol import provider
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Digest, Wei
from capanode.protocol.phases import Phase
from capanode.scheduler.claims import ClaimPolicy
from tests.node.test_settlement import NO_HOT_KEY, ONE, Chain, chain, committed_in, locked
from tests.protocol.deals import FINISHED

__all__ = ["chain"]

PATIENT = ClaimPolicy(max_wait_s=3600)


def claims(chain: Chain, policy: ClaimPolicy = PATIENT, hurry: trio.Event | None = None) -> Claims:
    is_hurried = hurry.is_set if hurry is not None else lambda: False
    return Claims(chain.senders[ONE.address], chain.contracts.market, policy, lambda: Wei(GWEI), is_hurried)


async def committed(chain: Chain, number: int, window_s: int = 5) -> bindings.Claim:
    """A deal whose result is on chain."""
    taken = await locked(chain, salt=Digest(number.to_bytes(32, "big")), window_s=window_s)
    assert await chain.settlement(ONE).assign(provider.Assigning(taken)) is None
    assert await chain.settlement(ONE).commit(provider.Committing(taken, NO_HOT_KEY, FINISHED)) is None
    return claim_of(taken.terms, await committed_in(chain, taken))


async def after_windows(chain: Chain, seconds: int = 6) -> None:
    await chain.next_block_at(await chain.now() + seconds)
    await chain.rpc.call_once("evm_mine")


async def gathered(chain: Chain, due: Sequence[bindings.Claim]) -> list[str]:
    """What came of each, when all were asked for before the first was sent, as by a node that is then drained."""
    hurry = trio.Event()
    desk = claims(chain, hurry=hurry)
    ends: dict[int, str] = {}

    async def ask(number: int) -> None:
        try:
            await desk.claim(due[number])
            ends[number] = "paid"
        except Unavailable as reason:
            ends[number] = str(reason)

    async with trio.open_nursery() as nursery:
        for number in range(len(due)):
            nursery.start_soon(ask, number)
        while desk.waiting < len(due):
            await trio.lowlevel.checkpoint()
        hurry.set()
    return [ends[number] for number in range(len(due))]


async def phases(chain: Chain, due: Sequence[bindings.Claim]) -> set[Phase]:
    return {await chain.phase(claim.deal_id) for claim in due}


async def test_what_is_due_together_is_one_transaction(chain: Chain) -> None:
    due = [await committed(chain, number) for number in range(3)]
    await after_windows(chain)
    before = await chain.transactions(ONE)
    assert await gathered(chain, due) == ["paid"] * 3
    assert await chain.transactions(ONE) == before + 1
    assert await phases(chain, due) == {Phase.FINALIZED}


async def test_by_default_a_lone_claim_goes_at_once(chain: Chain) -> None:
    due = await committed(chain, 1)
    await after_windows(chain)
    await claims(chain, ClaimPolicy()).claim(due)
    assert await chain.phase(due.deal_id) is Phase.FINALIZED
    await claims(chain, ClaimPolicy()).claim(due)


async def test_one_that_cannot_be_paid_holds_up_no_other(chain: Chain) -> None:
    due = [await committed(chain, 0), await committed(chain, 1, window_s=1000), await committed(chain, 2)]
    await after_windows(chain)
    before = await chain.transactions(ONE)
    first, second, third = await gathered(chain, due)
    assert (first, third) == ("paid", "paid")
    assert second.startswith("The claim is not possible yet: Claim number `index` cannot be paid")
    assert await chain.transactions(ONE) == before + 1
    assert await chain.phase(due[1].deal_id) is Phase.COMMITTED


async def test_what_was_signed_before_a_crash_is_not_signed_again(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = [await committed(chain, number) for number in range(3)]
    await after_windows(chain)
    before = await chain.transactions(ONE)
    sender = chain.senders[ONE.address]

    async def lost(attempt: Attempt) -> None:
        raise Unavailable("the process ends here")

    with monkeypatch.context() as patch:
        patch.setattr(sender, "broadcast", lost)
        ends = await gathered(chain, due)
    assert "the process ends here" in ends
    restarted = claims(chain, ClaimPolicy())
    async with trio.open_nursery() as nursery:
        for claim in reversed(due):
            nursery.start_soon(restarted.claim, claim)
    assert await chain.transactions(ONE) == before + 1
    assert await phases(chain, due) == {Phase.FINALIZED}


async def test_who_sends_for_all_may_be_called_off(chain: Chain) -> None:
    due = [await committed(chain, number) for number in range(2)]
    await after_windows(chain)
    hurry, first = trio.Event(), trio.CancelScope()
    desk = claims(chain, hurry=hurry)

    async def leader() -> None:
        with first:
            await desk.claim(due[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader)
        nursery.start_soon(desk.claim, due[1])
        while desk.waiting < 2:
            await trio.lowlevel.checkpoint()
        first.cancel()
        while desk.waiting > 1:
            await trio.lowlevel.checkpoint()
        hurry.set()
    assert [await chain.phase(claim.deal_id) for claim in due] == [Phase.COMMITTED, Phase.FINALIZED]


async def test_claim_that_a_reorganisation_took_away_comes_back_by_itself(chain: Chain) -> None:
    due = await committed(chain, 1)
    await after_windows(chain)
    await claims(chain, ClaimPolicy()).claim(due)
    mined = await chain.transactions(ONE)
    await chain.rpc.call_once("anvil_reorg", 1, [])
    while await chain.phase(due.deal_id) is not Phase.FINALIZED:
        await trio.lowlevel.checkpoint()
    assert await chain.transactions(ONE) == mined


async def test_claim_that_was_mined_too_early_is_sent_anew(chain: Chain) -> None:
    due = await committed(chain, 1)
    sender = chain.senders[ONE.address]
    key, data = f"{due.deal_id.hex()}/claim", bindings.encode_deal_market_claim(due)
    order = Order(key, chain.contracts.market, data, Wei(0))
    too_early = Prepared(order, 200_000, Fees(Wei(3 * GWEI), Wei(GWEI)), 0)
    await sender.database.write("test", lambda connection: sender.store_in(connection, too_early))
    assert isinstance(await sender.outcome(key), Reverted)
    await after_windows(chain)
    await claims(chain, ClaimPolicy()).claim(due)
    assert await chain.phase(due.deal_id) is Phase.FINALIZED
