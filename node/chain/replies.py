"""What a method can return at all, so that nonsense is laid to the endpoint that sent it, and another one is asked.

Only the form that every caller relies on is looked at; what the values mean is the caller's to judge.

**Source**: Ethereum execution API specification.
"""

from collections.abc import Callable
from typing import Final

from capanode.node.chain.jsonrpc import RpcError
from capanode.node.chain.wire import BadReply, read_bytes, read_digest, read_list, read_object, read_quantity

Check = Callable[[object], object]


def check(method: str, result: object) -> None:
    """See that a result, or an `RpcError` in its place, is one that the method can have.

    Raises:
        BadReply: it is not.
    """
    if isinstance(result, RpcError):
        if method in _NEVER_REFUSED:
            raise BadReply(f"The RPC endpoint refuses {method} ({result.message}): check its address and its key.")
    elif (form := _FORMS.get(method)) is not None:
        form(result)


def _nothing_or(form: Check) -> Check:
    return lambda result: None if result is None else form(result)


def _block(result: object) -> None:
    fields = read_object(result)
    read_quantity(fields.get("number"))
    read_quantity(fields.get("timestamp"))


_FORMS: Final[dict[str, Check]] = {
    "eth_blockNumber": read_quantity,
    "eth_call": read_bytes,
    "eth_chainId": read_quantity,
    "eth_estimateGas": read_quantity,
    "eth_feeHistory": read_object,
    "eth_gasPrice": read_quantity,
    "eth_getBalance": read_quantity,
    "eth_getBlockByNumber": _nothing_or(_block),
    "eth_getCode": read_bytes,
    "eth_getLogs": read_list,
    "eth_getTransactionByHash": _nothing_or(read_object),
    "eth_getTransactionCount": read_quantity,
    "eth_getTransactionReceipt": _nothing_or(read_object),
    "eth_maxPriorityFeePerGas": read_quantity,
    "eth_sendRawTransaction": read_digest,
}

_NEVER_REFUSED: Final = frozenset(
    {"eth_blockNumber", "eth_chainId", "eth_gasPrice", "eth_getTransactionByHash", "eth_getTransactionReceipt"}
)
"""Questions that no working node refuses: one that does wants a key, or is out of order."""
