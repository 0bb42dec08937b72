"""JSON-RPC 2.0 as bytes: calls into a request, and a stranger's reply back into results in the calls' order.

**Source**: JSON-RPC 2.0 specification, "batch"; Ethereum JSON-RPC, error codes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import orjson

from capanode.node.chain.wire import BadReply, Json, read_bytes, read_list, read_object
from capanode.protocol.faults import Refused, Unavailable

_RATE_LIMITED: Final = (-32005, 429)

_BRIEF_CALLS: Final = 8
_BRIEF_METHODS: Final = frozenset(
    {"eth_blockNumber", "eth_chainId", "eth_getBlockByHash", "eth_getBlockByNumber", "eth_getTransactionCount"}
)
"""Reads of what an endpoint has at hand. A few of them are little work together, whatever the chain holds."""

_numbers = count(1)
"""No two requests of a process have the same id, so that a reply is never taken for that of another."""


class RpcError(Refused):
    """The chain says no; `data` holds a contract's revert data, if the endpoint sent any."""

    def __init__(self, method: str, code: int, message: str, data: bytes | None) -> None:
        super().__init__(f"The chain refused {method}: {message}")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class RateLimited(Unavailable):
    """The endpoint answers less often than it is asked."""


@dataclass(frozen=True, slots=True)
class Call:
    """One JSON-RPC call."""

    method: str
    params: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Calls that travel together, and how to read the reply to them."""

    calls: Mapping[int, Call]
    body: bytes

    @property
    def is_brief(self) -> bool:
        """Whether an endpoint that works answers it at once: it asks for few things, none of them to be computed."""
        return len(self.calls) <= _BRIEF_CALLS and all(call.method in _BRIEF_METHODS for call in self.calls.values())

    def read(self, reply: bytes) -> tuple[object, ...]:
        """Results in the calls' order; an `RpcError` stands where the chain says no to one.

        Raises:
            BadReply: it is no answer to this request.
            RateLimited: the endpoint asks to be asked less.
        """
        try:
            found: object = orjson.loads(reply)
        except orjson.JSONDecodeError as error:
            raise BadReply("The RPC endpoint answered with no JSON: check its address.") from error
        if not self.body.startswith(b"["):
            ((number, call),) = self.calls.items()
            return (_outcome(found, call.method, number),)
        by_id = _by_id(found)
        if not by_id.keys() >= self.calls.keys():
            raise BadReply("The RPC endpoint left calls of a batch unanswered: retrying.")
        return tuple(_outcome(by_id[number], call.method, number) for number, call in self.calls.items())


def single(call: Call) -> Request:
    """A request of one call, as endpoints without batches take it."""
    number = next(_numbers)
    return Request({number: call}, orjson.dumps(_spelled(number, call)))


def batched(calls: Sequence[Call]) -> Request:
    """A request of several calls."""
    numbered = {next(_numbers): call for call in calls}
    return Request(numbered, orjson.dumps([_spelled(number, call) for number, call in numbered.items()]))


def value(result: object) -> object:
    """A result, with the chain's refusal raised.

    Raises:
        RpcError: the chain says no.
    """
    if isinstance(result, RpcError):
        raise result
    return result


def _spelled(number: int, call: Call) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params}


def _by_id(reply: object) -> dict[int, object]:
    if isinstance(reply, dict):
        _outcome({**reply, "id": None}, "a batch", 0)  # pyright: ignore[reportUnknownArgumentType]
        raise BadReply("The RPC endpoint does not answer batches: use another endpoint.")
    by_id: dict[int, object] = {}
    for item in read_list(reply):
        if isinstance(number := read_object(item).get("id"), int):
            by_id[number] = item
    return by_id


def _outcome(reply: object, method: str, number: int) -> object:
    if not isinstance(reply, dict):
        raise BadReply("The RPC endpoint does not speak JSON-RPC: check its address.")
    fields: dict[str, object] = reply  # pyright: ignore[reportUnknownVariableType]
    error = fields.get("error")
    if error is None and "result" not in fields:
        raise BadReply("The RPC endpoint answered without a result: check its address.")
    # A server that could not read the request does not know its number.
    if fields.get("id") != number and (error is None or fields.get("id") is not None):
        raise BadReply("The RPC endpoint answered another request than ours: retrying.")
    return fields["result"] if error is None else _refusal(error, method)


def _refusal(error: object, method: str) -> RpcError:
    fields: dict[str, object] = error if isinstance(error, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    code, message = fields.get("code"), fields.get("message")
    code = code if isinstance(code, int) else 0
    message = message[:500] if isinstance(message, str) else "no reason given"
    if code in _RATE_LIMITED:
        raise RateLimited(f"The RPC endpoint limits its callers ({message}): use one with a higher limit.")
    return RpcError(method, code, message, _revert_data(fields.get("data")))


def _revert_data(data: object) -> bytes | None:
    """Revert data as nodes send it: bare, or inside an object (older clients)."""
    if isinstance(data, dict):
        data = data.get("data")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(data, str):
        return None
    try:
        return read_bytes(data)
    except BadReply:
        return None
