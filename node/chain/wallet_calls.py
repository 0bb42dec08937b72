"""What a wallet asks of the market about its own money, as contract calls for `Sender.submit`.

Leaving takes two calls with a thaw between them; beginning again starts the wait anew.

**Source**: `IEscrow`, `IStakes`.
"""

from capanode.contracts_abi import bindings
from capanode.node.chain.token import Permit
from capanode.node.chain.view import ContractCall
from capanode.protocol.ids import Address, Wei


def deposit(market: Address, amount_wei: Wei) -> ContractCall:
    """Take approved tokens into the free balance."""
    return ContractCall(market, bindings.encode_deal_market_deposit(amount_wei))


def deposit_with_permit(market: Address, permit: Permit) -> ContractCall:
    """Take tokens into the free balance by a signed permit, in one transaction."""
    data = bindings.encode_deal_market_deposit_with_permit(
        permit.amount_wei,
        permit.deadline,
        permit.signature[64],
        permit.signature[:32],
        permit.signature[32:64],
    )
    return ContractCall(market, data)


def begin_withdraw(market: Address, amount_wei: Wei) -> ContractCall:
    """Start the thaw of free balance."""
    return ContractCall(market, bindings.encode_deal_market_begin_withdraw(amount_wei))


def withdraw(market: Address, to: Address) -> ContractCall:
    """Pay out what has thawed."""
    return ContractCall(market, bindings.encode_deal_market_withdraw(to))


def earmark(market: Address, provider: Address, amount_wei: Wei) -> ContractCall:
    """Set free balance aside for one provider."""
    return ContractCall(market, bindings.encode_deal_market_earmark(provider, amount_wei))


def begin_unearmark(market: Address, provider: Address, amount_wei: Wei) -> ContractCall:
    """Start the thaw of an earmark."""
    return ContractCall(market, bindings.encode_deal_market_begin_unearmark(provider, amount_wei))


def unearmark(market: Address, provider: Address) -> ContractCall:
    """Move what has thawed of an earmark into the free balance."""
    return ContractCall(market, bindings.encode_deal_market_unearmark(provider))


def stake(market: Address, amount_wei: Wei) -> ContractCall:
    """Move free balance into the stake."""
    return ContractCall(market, bindings.encode_deal_market_stake(amount_wei))


def begin_unstake(market: Address, amount_wei: Wei) -> ContractCall:
    """Start the thaw of stake."""
    return ContractCall(market, bindings.encode_deal_market_begin_unstake(amount_wei))


def unstake(market: Address) -> ContractCall:
    """Move thawed stake that no deal locks into the free balance."""
    return ContractCall(market, bindings.encode_deal_market_unstake())


def set_hot_key(market: Address, key: Address, ceiling_wei: Wei) -> ContractCall:
    """Let a key act for the wallet with at most so much in bonds; zero removes it."""
    return ContractCall(market, bindings.encode_deal_market_set_hot_key(key, ceiling_wei))


def set_payout(market: Address, payout: Address) -> ContractCall:
    """Credit earnings to another account."""
    return ContractCall(market, bindings.encode_deal_market_set_payout(payout))


def together(market: Address, calls: tuple[ContractCall, ...]) -> ContractCall:
    """Several calls to the market in one transaction, all or none."""
    if any(call.to != market for call in calls):
        raise ValueError("only calls to the market itself can go together")
    return ContractCall(market, bindings.encode_deal_market_multicall([call.data for call in calls]))
