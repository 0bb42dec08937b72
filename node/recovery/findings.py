"""What a wallet has in a network, and what can be done about each of it, now or when."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.chain.market import EarmarkState, MarketAccount, SlotState, Thaw
from capanode.node.chain.markets import MarketVersion
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.token import Token
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import hexadecimal, read_bytes, read_object, read_quantity
from capanode.node.paid.settlement import abi_terms, claim_of
from capanode.node.recovery.calldata import find_terms
from capanode.node.recovery.history import History, Trace, read_history
from capanode.protocol.events import DealCommitted
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, UnixTime, Wei
from capanode.protocol.money import deadline_bond_wei
from capanode.protocol.phases import TERMINAL, Phase
from capanode.protocol.records import Mode, Terms

SLOTS_AT_ONCE: Final = 100


class Act(StrEnum):
    """What gets a deal's money back; `docs/protocol.md` §6."""

    CANCEL = "cancel"
    EXPIRE = "expire"
    CLAIM = "claim"
    ABANDON = "abandon"


@dataclass(frozen=True, slots=True)
class FoundDeal:
    """An open deal of the wallet. `terms` are None where no endpoint has the transaction that bound it."""

    deal_id: DealId
    sides: tuple[str, ...]
    slot: SlotState
    terms: Terms | None
    locked_by: Address
    committed: DealCommitted | None

    @property
    def act(self) -> Act | None:
        """What ends it without the other side; None for a dispute, which its court ends."""
        return {Phase.ANNOUNCED: Act.CANCEL, Phase.ASSIGNED: Act.EXPIRE, Phase.COMMITTED: Act.CLAIM}.get(
            self.slot.phase
        )

    @property
    def due_at(self) -> UnixTime | None:
        """The first block time at which that may be done; None where it may be done at once."""
        return None if self.slot.phase is Phase.ANNOUNCED else UnixTime(self.slot.deadline + 1)

    @property
    def returned_wei(self) -> Wei:
        """What comes back to the wallet by it, as requester and as provider, its own unlocked bonds included."""
        if self.terms is None:
            return Wei(0)
        deposit, bonds = self.terms.price_wei + self.terms.verification_wei, self._bonds_wei(self.terms)
        paid = self.committed.amount_wei if self.committed and self.slot.phase is Phase.COMMITTED else 0
        burned = deadline_bond_wei(self.terms.price_wei) if self.slot.phase is Phase.ASSIGNED else 0
        as_requester = deposit - paid if "requester" in self.sides else 0
        as_provider = bonds - burned + paid if "provider" in self.sides else 0
        return Wei(as_requester + as_provider)

    def _bonds_wei(self, terms: Terms) -> int:
        late = 0 if terms.mode is Mode.DIRECT else deadline_bond_wei(terms.price_wei)
        return terms.fraud_bond_wei + late

    def call(self, market: Address, act: Act) -> ContractCall:
        """The transaction that does it."""
        assert self.terms is not None
        terms = abi_terms(self.terms)
        match act:
            case Act.CANCEL:
                return ContractCall(market, bindings.encode_deal_market_cancel(terms))
            case Act.EXPIRE:
                return ContractCall(market, bindings.encode_deal_market_expire(self.deal_id, terms, self.locked_by))
            case Act.ABANDON:
                return ContractCall(market, bindings.encode_deal_market_abandon(self.deal_id, terms, self.locked_by))
            case Act.CLAIM:
                assert self.committed is not None
                return ContractCall(market, bindings.encode_deal_market_claim(claim_of(self.terms, self.committed)))


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the wallet has in one version of the market; `now` is the time of a block made now."""

    market: MarketVersion
    deals: tuple[FoundDeal, ...]
    ended: int
    account: MarketAccount
    earmarks: tuple[tuple[Address, EarmarkState], ...]
    withdrawal: Thaw
    unstaking: Thaw
    hot_keys: tuple[Address, ...]
    token_wei: Wei
    native_wei: Wei
    now: UnixTime

    @property
    def in_market_wei(self) -> Wei:
        """Free, staked and set aside; deals are counted by what comes back of them."""
        return Wei(self.account.free_wei + self.account.stake_wei + sum(mark.amount_wei for _, mark in self.earmarks))


async def read_holdings(rpc: Rpc, version: MarketVersion, wallet: Address, first_block: int) -> Holdings:
    """Look at everything; sends nothing.

    Raises:
        Unavailable: no endpoint answers.
    """
    market = version.contract
    history = await read_history(rpc, version.address, wallet, first_block)
    deals, ended = await _deals(rpc, version, wallet, history)
    providers = tuple(sorted(history.earmarked))
    earmarks = await market.earmarks(wallet, providers) if providers else ()
    withdrawal, unstaking = await market.thaws(wallet)
    pending = read_object(await rpc.call("eth_getBlockByNumber", "pending", False))
    return Holdings(
        market=version,
        deals=deals,
        ended=ended,
        account=await market.account(wallet),
        earmarks=tuple((one, mark) for one, mark in zip(providers, earmarks, strict=True) if mark.amount_wei),
        withdrawal=withdrawal,
        unstaking=unstaking,
        hot_keys=tuple(sorted(history.hot_keys)),
        token_wei=await Token(rpc, version.token).balance(wallet),
        native_wei=Wei(read_quantity(await rpc.call("eth_getBalance", hexadecimal(wallet), "latest"))),
        now=UnixTime(read_quantity(pending.get("timestamp"))),
    )


async def _deals(
    rpc: Rpc, version: MarketVersion, wallet: Address, history: History
) -> tuple[tuple[FoundDeal, ...], int]:
    """The open deals, and how many have ended."""
    ids = list(history.deals)
    found: list[FoundDeal] = []
    for start in range(0, len(ids), SLOTS_AT_ONCE):
        some = ids[start : start + SLOTS_AT_ONCE]
        slots = await version.contract.slots(tuple(some))
        found += [
            await _deal(rpc, version, wallet, history.deals[deal_id], slot)
            for deal_id, slot in zip(some, slots, strict=True)
            if slot.phase not in TERMINAL and slot.phase is not Phase.NONE
        ]
    return tuple(found), len(ids) - len(found)


async def _deal(rpc: Rpc, version: MarketVersion, wallet: Address, trace: Trace, slot: SlotState) -> FoundDeal:
    parties = {"requester": trace.requester, "provider": trace.provider}
    holder = trace.assigned or trace.committed
    return FoundDeal(
        deal_id=trace.deal_id,
        sides=tuple(side for side, party in parties.items() if party == wallet),
        slot=slot,
        terms=await _terms(rpc, version, trace),
        locked_by=holder.locked_by if holder else ZERO_ADDRESS,
        committed=trace.committed,
    )


async def _terms(rpc: Rpc, version: MarketVersion, trace: Trace) -> Terms | None:
    """The terms as the deal stands now: with its provider and price once it is bound."""
    signed = trace.announced
    if signed is None and trace.bound_in is not None and trace.requester is not None:
        reply = await rpc.call("eth_getTransactionByHash", hexadecimal(trace.bound_in))
        data = read_bytes(read_object(reply).get("input")) if reply is not None else b""
        signed = find_terms(data, version.domain, trace.deal_id, trace.requester)
    if signed is None or trace.assigned is None:
        return signed
    return replace(signed, provider=trace.assigned.provider, price_wei=Wei(trace.assigned.price))
