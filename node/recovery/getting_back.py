"""Sends what is due of a wallet's holdings, each effect once, in the order in which money becomes free."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from capanode.node.chain import wallet_calls
from capanode.node.chain.sender import Mined, Sender
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import hexadecimal
from capanode.node.recovery.findings import Act, FoundDeal, Holdings
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Wei
from capanode.protocol.phases import Phase


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction that can be sent now. `key` names its effect."""

    key: str
    what: str
    call: ContractCall


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a step: the transaction, or why there is none."""

    what: str
    tx: str
    refusal: str


def deals_due(holdings: Holdings, *, abandon: bool) -> Iterator[Step]:
    """Deals that can be ended now; with `abandon` also work that this wallet has to give up, for a hundredth."""
    for deal in holdings.deals:
        act = due_act(deal, holdings.now, abandon=abandon)
        if act is not None and deal.terms is not None:
            what = f"{act.value} deal {hexadecimal(deal.deal_id)}"
            yield Step(f"{deal.deal_id.hex()}/{act.value}", what, deal.call(holdings.market.address, act))


def due_act(deal: FoundDeal, now: int, *, abandon: bool) -> Act | None:
    """What can be done about the deal in a block made now."""
    if deal.act is None or (deal.slot.phase is Phase.ANNOUNCED and "requester" not in deal.sides):
        return None
    if deal.due_at is None or now >= deal.due_at:
        return deal.act
    may_abandon = abandon and "provider" in deal.sides and deal.slot.phase is Phase.ASSIGNED
    return Act.ABANDON if may_abandon else None


def thaws_over(holdings: Holdings) -> Iterator[Step]:
    """What thaws and can be moved to the free balance; the free balance itself comes last, by `withdrawal`."""
    market = holdings.market.address
    for provider, mark in holdings.earmarks:
        if mark.thawing_wei and mark.ready_at <= holdings.now:
            key = f"recover/unearmark/{market.hex()}/{provider.hex()}/{mark.ready_at}"
            yield Step(key, f"unearmark {hexadecimal(provider)}", wallet_calls.unearmark(market, provider))
    if holdings.unstaking.amount_wei and holdings.unstaking.ready_at <= holdings.now:
        key = f"recover/unstake/{market.hex()}/{holdings.unstaking.ready_at}"
        yield Step(key, "unstake", wallet_calls.unstake(market))


def exits_begun(holdings: Holdings) -> Iterator[Step]:
    """Begin to take out what does not thaw yet: earmarks, and stake that no deal locks."""
    market = holdings.market.address
    for provider, mark in holdings.earmarks:
        if not mark.thawing_wei:
            key = f"recover/begin-unearmark/{market.hex()}/{provider.hex()}/{mark.amount_wei}/{holdings.now}"
            call = wallet_calls.begin_unearmark(market, provider, mark.amount_wei)
            yield Step(key, f"begin to unearmark {hexadecimal(provider)}", call)
    stake = holdings.account.unlocked_wei
    if stake and not holdings.unstaking.amount_wei:
        key = f"recover/begin-unstake/{market.hex()}/{stake}/{holdings.now}"
        yield Step(key, "begin to unstake", wallet_calls.begin_unstake(market, stake))


def withdrawal(holdings: Holdings, to: Address) -> Iterator[Step]:
    """The free balance: its thaw, and its way out once that is over."""
    market, free, thaw = holdings.market.address, holdings.account.free_wei, holdings.withdrawal
    if thaw.amount_wei and thaw.ready_at <= holdings.now:
        key = f"recover/withdraw/{market.hex()}/{thaw.ready_at}"
        yield Step(key, f"withdraw to {hexadecimal(to)}", wallet_calls.withdraw(market, to))
    elif free and not thaw.amount_wei:
        key = f"recover/begin-withdraw/{market.hex()}/{free}/{holdings.now}"
        yield Step(key, "begin to withdraw", wallet_calls.begin_withdraw(market, Wei(free)))


async def send_all(sender: Sender, steps: Iterator[Step]) -> AsyncIterator[Sent]:
    """Send step by step and wait for each; what one refuses holds no other up.

    Raises:
        Unavailable: no endpoint answers; what was sent is found by its key next time.
    """
    for step in steps:
        try:
            tx = await sender.submit(step.key, step.call.to, step.call.data)
            outcome = await sender.outcome(step.key)
        except Refused as refusal:
            yield Sent(step.what, "", str(refusal))
            continue
        failure = "" if isinstance(outcome, Mined) else str(getattr(outcome, "reason", "its nonce was used otherwise"))
        yield Sent(step.what, hexadecimal(tx), failure)
