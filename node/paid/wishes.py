"""What the operator's config says about transactions, in the terms of those who send them."""

from capanode.node.chain.fees import FeePolicy
from capanode.node.chain.sender import SenderOptions
from capanode.node.config import ChainSettings, ClaimSettings
from capanode.scheduler.claims import ClaimPolicy


def sender_options(settings: ChainSettings) -> SenderOptions:
    """How transactions pay and wait."""
    fees = FeePolicy(max_fee_cap_wei=settings.max_fee_wei, tip_cap_wei=settings.max_tip_wei)
    return SenderOptions(fees=fees, stuck_s=settings.raise_fees_after)


def claim_policy(settings: ClaimSettings) -> ClaimPolicy:
    """When claims go."""
    return ClaimPolicy(
        max_wait_s=settings.max_wait,
        at_once_wei=settings.at_once_wei,
        comfort_price_wei=settings.comfort_price_wei,
    )
