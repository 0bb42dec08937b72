"""What a transaction pays for gas: EIP-1559 fees with a cap, and the rise that replaces a stuck one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.transactions import Fees
from capanode.node.chain.wire import BadReply, read_list, read_object, read_quantity
from capanode.protocol.faults import Misconfigured, Unavailable
from capanode.protocol.ids import Wei

GWEI: Final = 10**9
BASE_FEE_HEADROOM: Final = 2
"""The base fee doubles in six full blocks at most (12.5 % each): within that a transaction stays valid."""

FALLBACK_TIP_WEI: Final = Wei(GWEI)
DEFAULT_CAP_WEI: Final = Wei(500 * GWEI)
DEFAULT_TIP_CAP_WEI: Final = Wei(100 * GWEI)
REPLACEMENT_RISE: Final = (9, 8)
"""Both fees by an eighth at least; go-ethereum asks for a tenth. Source: go-ethereum, txpool price bump."""

ENOUGH_ABOVE: Final = 4
"""Who pays so many times what a new transaction would pay is not held up by its price: more would be wasted."""

FEE_CALLS: Final = (Call("eth_feeHistory", ("0x1", "latest", [])), Call("eth_maxPriorityFeePerGas"))


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """The operator's limits."""

    max_fee_cap_wei: Wei = DEFAULT_CAP_WEI
    """Most that a unit of gas may ever cost."""

    tip_cap_wei: Wei = DEFAULT_TIP_CAP_WEI
    """Most that an endpoint's advice on the tip is followed to; replacing a stuck transaction may go above."""


class GasTooDear(Unavailable):
    """The chain's base fee is over the operator's cap."""


def read_fees(replies: Sequence[object], policy: FeePolicy) -> Fees:
    """Fees from the replies to `FEE_CALLS`.

    Raises:
        GasTooDear: even the base fee alone is over the cap.
        Misconfigured: the chain has no EIP-1559 fees.
    """
    history, tip = replies
    if isinstance(history, RpcError):
        raise Misconfigured(f"The RPC endpoint does not answer eth_feeHistory ({history.message}): use another.")
    base_fees = read_list(read_object(history).get("baseFeePerGas"))
    if not base_fees:
        raise BadReply("The RPC endpoint knows no base fee: check the endpoint, or use another.")
    base_fee = read_quantity(base_fees[-1])
    tip_wei = FALLBACK_TIP_WEI if isinstance(tip, RpcError) else min(read_quantity(tip), policy.tip_cap_wei)
    cap = policy.max_fee_cap_wei
    if base_fee > cap:
        raise GasTooDear(
            f"Gas costs {base_fee / GWEI:.3g} gwei now, over the cap of {cap / GWEI:.3g}: "
            "waiting; raise the cap if it has to be now."
        )
    max_fee = min(BASE_FEE_HEADROOM * base_fee + tip_wei, cap)
    return Fees(Wei(max_fee), Wei(min(tip_wei, max_fee)))


def are_high_enough(fees: Fees, current: Fees) -> bool:
    """Whether a transaction with these fees is not held up by its price."""
    return fees.max_fee_wei >= ENOUGH_ABOVE * current.max_fee_wei and fees.tip_wei >= ENOUGH_ABOVE * current.tip_wei


def raised(old: Fees, current: Fees, policy: FeePolicy) -> Fees | None:
    """Fees that replace `old` at the same nonce; None where the cap forbids it."""
    up, down = REPLACEMENT_RISE
    max_fee = max(-(-old.max_fee_wei * up // down), current.max_fee_wei)
    tip = max(-(-old.tip_wei * up // down), current.tip_wei, 1)
    if max(max_fee, tip) > policy.max_fee_cap_wei:
        return None
    return Fees(Wei(max(max_fee, tip)), Wei(tip))
