"""The deal market as a node reads it: balances, earmarks, stakes, hot keys, slots and clocks."""

from dataclasses import dataclass

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import BlockTag, View, read, read_all
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, UnixTime, Wei
from capanode.protocol.phases import Phase


@dataclass(frozen=True, slots=True)
class MarketAccount:
    """What a party has in the market."""

    free_wei: Wei
    stake_wei: Wei
    locked_wei: Wei
    """The part of the stake that open deals hold as bonds."""

    @property
    def unlocked_wei(self) -> Wei:
        """Stake that can still back deals."""
        return Wei(self.stake_wei - self.locked_wei)


@dataclass(frozen=True, slots=True)
class EarmarkState:
    """Money that a payer has set aside for one provider."""

    amount_wei: Wei
    thawing_wei: Wei
    """The part that may leave after `ready_at`; until it is taken, deals can debit it."""

    ready_at: UnixTime


@dataclass(frozen=True, slots=True)
class Thaw:
    """A withdrawal that was begun; zeros when there is none."""

    amount_wei: Wei
    ready_at: UnixTime


@dataclass(frozen=True, slots=True)
class HotKeyState:
    """What a hot key may lock in bonds, and has."""

    ceiling_wei: Wei
    locked_wei: Wei


@dataclass(frozen=True, slots=True)
class Standing:
    """What a provider can put behind a deal that `signer` signs for it."""

    account: MarketAccount
    may_sign: bool
    unlocked_wei: Wei
    """Stake that no deal locks; for a hot key at most what its ceiling leaves."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """All that the chain keeps of a deal."""

    phase: Phase
    open_challenges: int
    deadline: UnixTime
    """assign_by, then commit_by plus grace, then the end of the window. Source: `IDealMarket.slot`."""

    hash: int


@dataclass(frozen=True, slots=True)
class MarketClocks:
    """What the market was constructed with; seconds."""

    grace_s: int
    window_floor_s: int
    free_thaw_s: int
    earmark_thaw_s: int
    stake_thaw_s: int
    expire_reward_wei: Wei


class Market:
    """One deal market; each read is one round trip and raises `Unavailable` when no endpoint answers."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def account(self, holder: Address, at: BlockTag = "latest") -> MarketAccount:
        """Free balance, stake and locked bonds of a party."""
        return await read(self._rpc, self._account(holder), at)

    async def earmark(self, payer: Address, provider: Address, at: BlockTag = "latest") -> EarmarkState:
        """What `payer` has set aside for `provider`."""
        return await read(self._rpc, self._earmark(payer, provider), at)

    async def means(
        self, payer: Address, provider: Address, at: BlockTag = "latest"
    ) -> tuple[MarketAccount, EarmarkState]:
        """What `payer` can pay `provider` from: its account, and what it has set aside for it."""
        return await read_all(self._rpc, (self._account(payer), self._earmark(payer, provider)), at)

    async def earmarks(
        self, payer: Address, providers: tuple[Address, ...], at: BlockTag = "latest"
    ) -> tuple[EarmarkState, ...]:
        """What `payer` has set aside for each of several providers."""
        return await read_all(self._rpc, tuple(self._earmark(payer, provider) for provider in providers), at)

    async def hot_key(self, provider: Address, key: Address, at: BlockTag = "latest") -> HotKeyState:
        """Ceiling and locked bonds of a hot key; a ceiling of zero means that it may not act."""
        return await read(self._rpc, self._hot_key(provider, key), at)

    async def standing(self, provider: Address, signer: Address, at: BlockTag = "latest") -> Standing:
        """Whether `signer` may act for `provider`, and the bonds that it can lock."""
        if signer == provider:
            account = await self.account(provider, at)
            return Standing(account, may_sign=True, unlocked_wei=account.unlocked_wei)
        account, key = await read_all(self._rpc, (self._account(provider), self._hot_key(provider, signer)), at)
        room_wei = max(key.ceiling_wei - key.locked_wei, 0)
        return Standing(account, key.ceiling_wei > 0, Wei(min(account.unlocked_wei, room_wei)))

    async def slot(self, deal_id: DealId, at: BlockTag = "latest") -> SlotState:
        """Phase and deadline of a deal."""
        return await read(self._rpc, View(self.address, bindings.encode_deal_market_slot(deal_id), _slot), at)

    async def slots(self, deal_ids: tuple[DealId, ...], at: BlockTag = "latest") -> tuple[SlotState, ...]:
        """Phases and deadlines of several deals."""
        views = tuple(View(self.address, bindings.encode_deal_market_slot(deal_id), _slot) for deal_id in deal_ids)
        return await read_all(self._rpc, views, at)

    async def thaws(self, holder: Address, at: BlockTag = "latest") -> tuple[Thaw, Thaw]:
        """The withdrawal from the free balance and the unstaking that `holder` has begun."""
        withdrawal = View(self.address, bindings.encode_deal_market_withdrawing_of(holder), _withdrawal)
        unstaking = View(self.address, bindings.encode_deal_market_unstaking_of(holder), _unstaking)
        return await read_all(self._rpc, (withdrawal, unstaking), at)

    async def payout(self, provider: Address, at: BlockTag = "latest") -> Address:
        """The account that gets what `provider` earns."""
        data = bindings.encode_deal_market_payout_of(provider)
        return await read(self._rpc, View(self.address, data, bindings.decode_deal_market_payout_of), at)

    async def token(self) -> Address:
        """The only token of this market."""
        data = bindings.encode_deal_market_token()
        return await read(self._rpc, View(self.address, data, bindings.decode_deal_market_token))

    async def court(self) -> Address | None:
        """The court that judges this market's results; None where they cannot be disputed."""
        data = bindings.encode_deal_market_dispute_court()
        court = await read(self._rpc, View(self.address, data, bindings.decode_deal_market_dispute_court))
        return None if court == ZERO_ADDRESS else court

    async def clocks(self) -> MarketClocks:
        """The market's constants."""
        data = bindings.encode_deal_market_clocks()
        found = await read(self._rpc, View(self.address, data, bindings.decode_deal_market_clocks))
        return MarketClocks(
            grace_s=found.grace,
            window_floor_s=found.window_floor,
            free_thaw_s=found.free_thaw,
            earmark_thaw_s=found.earmark_thaw,
            stake_thaw_s=found.stake_thaw,
            expire_reward_wei=Wei(found.expire_reward),
        )

    def _account(self, holder: Address) -> View[MarketAccount]:
        return View(self.address, bindings.encode_deal_market_account_of(holder), _account)

    def _earmark(self, payer: Address, provider: Address) -> View[EarmarkState]:
        return View(self.address, bindings.encode_deal_market_earmark_of(payer, provider), _earmark)

    def _hot_key(self, provider: Address, key: Address) -> View[HotKeyState]:
        return View(self.address, bindings.encode_deal_market_hot_key(provider, key), _hot_key)


def _account(data: bytes) -> MarketAccount:
    found = bindings.decode_deal_market_account_of(data)
    return MarketAccount(Wei(found.free), Wei(found.stake), Wei(found.locked))


def _earmark(data: bytes) -> EarmarkState:
    found = bindings.decode_deal_market_earmark_of(data)
    return EarmarkState(Wei(found.amount), Wei(found.thawing), UnixTime(found.ready_at))


def _hot_key(data: bytes) -> HotKeyState:
    found = bindings.decode_deal_market_hot_key(data)
    return HotKeyState(Wei(found.lock_ceiling), Wei(found.locked))


def _slot(data: bytes) -> SlotState:
    found = bindings.decode_deal_market_slot(data)
    return SlotState(Phase(found.phase), found.open, UnixTime(found.deadline), found.hash)


def _withdrawal(data: bytes) -> Thaw:
    found = bindings.decode_deal_market_withdrawing_of(data)
    return Thaw(Wei(found.amount), UnixTime(found.ready_at))


def _unstaking(data: bytes) -> Thaw:
    found = bindings.decode_deal_market_unstaking_of(data)
    return Thaw(Wei(found.amount), UnixTime(found.ready_at))
