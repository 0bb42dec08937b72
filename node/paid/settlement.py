"""Every transaction that moves a deal from one phase to the next, built from the deal's state.

A transaction's key names its effect (`<deal id>/commit`), so performing the same command twice sends one
transaction. What the chain refuses now is either final (`TransactionRefused`) or a matter of time (`Unavailable`).
"""

from collections.abc import Iterable
from typing import assert_never

from capanode.contracts_abi import bindings
from capanode.node.chain.market import Market
from capanode.node.chain.orders import DOUBTS_S, Orders
from capanode.node.chain.sender import Sender
from capanode.node.chain.wire import read_quantity
from capanode.node.paid.claims import Claims
from capanode.proofs.commitment import Commitment, commitment_of_single_step, commitment_of_steps
from capanode.proofs.trace import commitment_digest
from capanode.protocol import provider, requester
from capanode.protocol.awards import announced_terms
from capanode.protocol.events import DealCommitted, ExecutionFinished, TransactionRefused
from capanode.protocol.ids import ZERO_DIGEST, Address, DealId, Digest, UnixTime, Wei
from capanode.protocol.judging import steps_word
from capanode.protocol.phases import Phase
from capanode.protocol.records import Demand, Mode, Terms
from capanode.scheduler.claims import ClaimPolicy


class Settlement:
    """Sends deal transactions from one key to one market."""

    def __init__(
        self, sender: Sender, market: Address, doubts_s: Iterable[float] = DOUBTS_S, claims: Claims | None = None
    ) -> None:
        self._sender = sender
        self._market = market
        self.claims = claims or Claims(sender, market, ClaimPolicy(), lambda: Wei(0))
        self._orders = Orders(sender, market, doubts_s)

    # ---- requester -----------------------------------------------------------------------------------------

    async def announce(self, job: requester.Announcing, locator: bytes) -> TransactionRefused | None:
        """Lock P + V behind an announced demand."""
        announcement, deal_id = job.order.announcement, job.order.demand.deal_id
        assert announcement is not None
        assert deal_id is not None
        data = bindings.encode_deal_market_announce(abi_terms(announcement), locator)
        return await self._orders.insist(deal_id.hex(), "announce", data)

    async def cancel(self, job: requester.Withdrawing) -> None:
        """Take an announced demand back."""
        announcement, deal_id = job.order.announcement, job.order.demand.deal_id
        assert announcement is not None
        assert deal_id is not None
        data = bindings.encode_deal_market_cancel(abi_terms(announcement))
        await self._orders.eventually(deal_id.hex(), "cancel", data)

    async def expire(self, deal_id: DealId, terms: Terms, locked_by: Address) -> None:
        """Have a late deal refunded; either side may."""
        data = bindings.encode_deal_market_expire(deal_id, abi_terms(terms), locked_by)
        await self._orders.eventually(deal_id.hex(), "expire", data)

    # ---- provider ------------------------------------------------------------------------------------------

    async def assign(self, deal: provider.Assigning) -> TransactionRefused | None:
        """Bind a LOCK award, or an announced demand."""
        work = deal.work
        match work.terms.mode:
            case Mode.FIRST:
                announced = announced_terms(work.terms, work.demand.price_cap_wei)
                data = bindings.encode_deal_market_assign_first(
                    provider=work.terms.provider, announced=abi_terms(announced)
                )
            case Mode.AWARD:
                announced = announced_terms(work.terms, work.demand.price_cap_wei)
                data = bindings.encode_deal_market_assign_announced(
                    announced=abi_terms(announced),
                    price=work.terms.price_wei,
                    provider=work.terms.provider,
                    signature=work.award.signature,
                )
            case Mode.LOCK | Mode.DIRECT:
                data = bindings.encode_deal_market_assign(abi_terms(work.terms), work.award.signature)
            case _:
                assert_never(work.terms.mode)
        return await self._orders.insist(work.deal_id.hex(), "assign", data)

    async def commit(self, deal: provider.Committing) -> TransactionRefused | None:
        """Commit to the result; a DIRECT deal is assigned in the same transaction."""
        work = deal.work
        refused = await self._orders.insist(work.deal_id.hex(), "commit", commit_call(deal))
        if refused is not None and await self._is_committed(work.deal_id):
            # By us, though this journal does not know it, as after a restored backup: its log is on its way.
            return None
        return refused

    async def abandon(self, deal: provider.Abandoning) -> TransactionRefused | None:
        """Give the deal up before its deadline."""
        work = deal.work
        data = bindings.encode_deal_market_abandon(work.deal_id, abi_terms(work.terms), deal.locked_by)
        return await self._orders.insist(work.deal_id.hex(), "abandon", data)

    async def claim(self, terms: Terms, committed: DealCommitted) -> None:
        """Finalize after the window; either side may."""
        await self.claims.claim(claim_of(terms, committed))

    async def accept(self, deal: provider.Committed) -> TransactionRefused | None:
        """Take the payment at once, by the requester's signature."""
        claim = claim_of(deal.work.terms, deal.commitment)
        data = bindings.encode_deal_market_accept(claim, deal.accept)
        return await self._orders.insist(deal.work.deal_id.hex(), "accept", data)

    async def _is_committed(self, deal_id: DealId) -> bool:
        slot = await Market(self._sender.rpc, self._market).slot(deal_id)
        return slot.phase in (Phase.COMMITTED, Phase.CHALLENGED, Phase.FINALIZED)

    async def newest_block(self) -> int:
        """The number of the chain's newest block, as an endpoint that judges our transactions says it."""
        return read_quantity(await self._sender.rpc.call("eth_blockNumber"))


def abi_terms(terms: Terms) -> bindings.Terms:
    """Terms as calldata takes them."""
    return bindings.Terms(
        requester=terms.requester,
        provider=terms.provider,
        demand_digest=terms.demand_digest,
        price=terms.price_wei,
        verification=terms.verification_wei,
        fraud_bond=terms.fraud_bond_wei,
        assign_by=terms.assign_by,
        commit_by=terms.commit_by,
        window=terms.window_s,
        mode=int(terms.mode),
        salt=int.from_bytes(terms.salt, "big"),
    )


def terms_of_abi(terms: bindings.Terms) -> Terms:
    """Terms as a log carries them; raises ValueError for what no honest announcement holds."""
    return Terms(
        requester=terms.requester,
        provider=terms.provider,
        demand_digest=terms.demand_digest,
        price_wei=Wei(terms.price),
        verification_wei=Wei(terms.verification),
        fraud_bond_wei=Wei(terms.fraud_bond),
        assign_by=UnixTime(terms.assign_by),
        commit_by=UnixTime(terms.commit_by),
        window_s=terms.window,
        mode=Mode(terms.mode),
        salt=Digest(terms.salt.to_bytes(32, "big")),
    )


def demand_core(demand: Demand) -> bindings.DemandCore:
    """The preimage of the terms' demand digest."""
    steps = steps_word(demand.rules, demand.first_step, demand.step_limit)
    return bindings.DemandCore(demand.spec, demand.input_root, steps)


def commit_call(deal: provider.Committing) -> bytes:
    """The calldata that commits to a result, with its trace where there were several steps."""
    work, traced = deal.work, deal.result.traced
    terms, core, made = abi_terms(work.terms), demand_core(work.demand), commitment_of(deal.result, work.terms)
    if work.terms.mode is Mode.DIRECT:
        signature = work.award.signature
        if traced is None:
            return bindings.encode_deal_market_assign_and_commit(
                award=terms, signature=signature, demand=core, commitment=made
            )
        return bindings.encode_deal_market_assign_and_commit_steps(
            award=terms, signature=signature, demand=core, commitment=made, trace=traced.posted
        )
    if traced is None:
        return bindings.encode_deal_market_commit(
            deal_id=work.deal_id, terms=terms, locked_by=deal.locked_by, demand=core, commitment=made
        )
    return bindings.encode_deal_market_commit_steps(
        deal_id=work.deal_id,
        terms=terms,
        locked_by=deal.locked_by,
        demand=core,
        commitment=made,
        trace=traced.posted,
    )


def commitment_made(result: ExecutionFinished, amount_wei: Wei) -> Commitment:
    """What is committed of an execution that has finished."""
    if result.traced is None:
        return commitment_of_single_step(result.result_root, result.stdout_root, result.status, amount_wei)
    return commitment_of_steps(
        result.result_root,
        result.stdout_root,
        result.status,
        amount_wei,
        step_count=result.traced.step_count,
        leaves_cid=result.traced.leaves_cid,
    )


def commitment_of(result: ExecutionFinished, terms: Terms) -> bindings.Commitment:
    """The commitment to an execution, at the full price."""
    made = commitment_made(result, terms.price_wei)
    return bindings.Commitment(
        result_root=made.result_root,
        # Zero stands for the result's root, and costs less to send.
        delivery_root=ZERO_DIGEST if made.delivery_root == made.result_root else made.delivery_root,
        stdout_root=made.stdout_root,
        leaves_cid=made.leaves_cid,
        step_count=made.step_count,
        status=made.status,
        amount=made.amount_wei,
    )


def claim_of(terms: Terms, committed: DealCommitted) -> bindings.Claim:
    """What claim and accept name a committed deal by."""
    return bindings.Claim(
        deal_id=committed.deal_id,
        terms=abi_terms(terms),
        locked_by=committed.locked_by,
        amount=committed.amount_wei,
        commitment_digest=digest_of(committed),
    )


def digest_of(committed: DealCommitted) -> Digest:
    """What the deal's slot keeps of a commitment."""
    return commitment_digest(
        committed.trace_root,
        committed.result_root,
        committed.delivery_root,
        committed.leaves_cid,
        committed.step_count,
        committed.status,
    )
