"""Blocks without their transactions, asked for and read as from a stranger."""

from dataclasses import dataclass

from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.wire import BadReply, quantity, read_digest, read_object, read_quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import UnixTime


@dataclass(frozen=True, slots=True)
class Header:
    """A block, and what it says about its logs."""

    block: BlockRef
    bloom: int | None
    """Which addresses and topics its logs may have; None where the endpoint does not tell."""

    is_empty: bool
    """Whether it is known to hold no transaction, and so no log."""


def header_call(number: int | str) -> Call:
    """Ask for a block by number or tag."""
    return Call("eth_getBlockByNumber", (quantity(number) if isinstance(number, int) else number, False))


def read_header(reply: object, chain_id: int, number: int | None = None) -> Header | None:
    """The block of a reply to `header_call`; None where the chain has none of that number.

    Raises:
        Unavailable: the endpoint refuses, or tells of another block than the one that was asked for.
    """
    if reply is None:
        return None
    if isinstance(reply, RpcError):
        raise Unavailable(f"A block of chain {chain_id} cannot be read ({reply.message}): retrying.")
    fields = read_object(reply)
    block = BlockRef(
        chain_id=chain_id,
        number=read_quantity(fields.get("number")),
        hash=read_digest(fields.get("hash")),
        parent=read_digest(fields.get("parentHash")),
        time=UnixTime(read_quantity(fields.get("timestamp"))),
    )
    if number is not None and block.number != number:
        raise BadReply(f"The RPC endpoint sent another block than {number}: check the endpoint.")
    return Header(block, _read_bloom(fields.get("logsBloom")), fields.get("transactions") == [])


def _read_bloom(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return int(value, 16)
    except ValueError:
        raise BadReply("The RPC endpoint sent a malformed bloom filter: check the endpoint.") from None
