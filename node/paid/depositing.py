"""Tokens from the wallet into a market: one transaction where the token takes permits, else an approval before it."""

from typing import Final

from capanode.node.chain import wallet_calls
from capanode.node.chain.sender import Sender
from capanode.node.chain.token import Token
from capanode.node.chain.view import ContractCall
from capanode.node.keys.signer import Signer
from capanode.protocol.ids import Address, UnixTime, Wei

PERMIT_LIFE_S: Final = 3600
"""A permit that is not used by then is void."""


async def deposit_call(
    token: Token, sender: Sender, signer: Signer, market: Address, amount: Wei, now: UnixTime
) -> ContractCall:
    """The deposit by a permit; where the token has none, after an approval that is mined first."""
    permit = await token.permit(signer, market, amount, UnixTime(now + PERMIT_LIFE_S))
    if permit is not None:
        return wallet_calls.deposit_with_permit(market, permit)
    approval = token.approve(market, amount)
    key = f"wallet/approve/{amount}/{await sender.mined_count()}"
    await sender.submit(key, approval.to, approval.data)
    await sender.outcome(key)
    return wallet_calls.deposit(market, amount)
