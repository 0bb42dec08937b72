"""Reading contracts: typed views, alone or several in one round trip at one block."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import BadReply, hexadecimal, quantity, read_bytes
from capanode.protocol.faults import PeerFault, Unavailable
from capanode.protocol.ids import Address

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")

BlockTag = int | str
"""A block's number, `latest`, or `pending`, whose time moves on even on an idle automining chain."""


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """A question to a contract, and how to read the answer."""

    to: Address
    data: bytes
    decode: Callable[[bytes], T]


@dataclass(frozen=True, slots=True)
class ContractCall:
    """What a transaction says to a contract; `Sender.submit` takes its parts."""

    to: Address
    data: bytes


class ViewRefused(Unavailable):
    """The contract reverted on a plain question, or there is no contract of that kind at the address."""


async def read(rpc: Rpc, view: View[T], at: BlockTag = "latest") -> T:
    """The answer to one view.

    Raises:
        ViewRefused: nothing there answers such a question.
        Unavailable: no endpoint answers.
    """
    (answer,) = await rpc.batch((_call(view, at),))
    return _decoded(view, answer)


@overload
async def read_all(rpc: Rpc, views: tuple[View[T1], View[T2]], at: BlockTag = "latest") -> tuple[T1, T2]: ...
@overload
async def read_all(
    rpc: Rpc, views: tuple[View[T1], View[T2], View[T3]], at: BlockTag = "latest"
) -> tuple[T1, T2, T3]: ...
@overload
async def read_all(
    rpc: Rpc, views: tuple[View[T1], View[T2], View[T3], View[T4]], at: BlockTag = "latest"
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def read_all(rpc: Rpc, views: tuple[View[T], ...], at: BlockTag = "latest") -> tuple[T, ...]: ...
async def read_all(rpc: Rpc, views: tuple[View[Any], ...], at: BlockTag = "latest") -> tuple[Any, ...]:
    """The answers to several views in one round trip.

    Raises:
        ViewRefused, Unavailable: as `read`.
    """
    answers = await rpc.batch([_call(view, at) for view in views])
    return tuple(_decoded(view, answer) for view, answer in zip(views, answers, strict=True))


def _call(view: View[T], at: BlockTag) -> Call:
    tag = quantity(at) if isinstance(at, int) else at
    return Call("eth_call", ({"to": hexadecimal(view.to), "data": hexadecimal(view.data)}, tag))


def _decoded(view: View[T], answer: object) -> T:
    if isinstance(answer, RpcError):
        if not _is_revert(answer):
            raise Unavailable(f"The RPC endpoint does not answer a plain question ({answer.message}): retrying.")
        raise ViewRefused(f"The contract 0x{view.to.hex()} does not answer a plain question ({answer.message}).")
    data = read_bytes(answer)
    if not data:
        raise ViewRefused(
            f"There is no such contract at 0x{view.to.hex()}: check the network profile and the RPC endpoint."
        )
    try:
        return view.decode(data)
    except (PeerFault, ValueError) as error:
        raise BadReply(f"The contract 0x{view.to.hex()} answered in an unknown form: {error}.") from error


def _is_revert(error: RpcError) -> bool:
    """Whether the contract itself refused, and not an endpoint that is behind or in trouble."""
    return error.code == 3 or error.data is not None or "revert" in error.message.lower()
