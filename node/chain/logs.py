"""Which logs are ours, and reading them as from a stranger: each is compared with what was asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

from eth_hash.auto import keccak

from capanode.node.chain.blocks import BlockRef, RawLog
from capanode.node.chain.headers import Header
from capanode.node.chain.wire import BadReply, hexadecimal, read_digest, read_list, read_quantity
from capanode.protocol.faults import PeerFault, Unavailable
from capanode.protocol.ids import Address, Digest, TxHash, UnixTime

Decode = Callable[[Sequence[bytes], bytes], object | None]
"""Topics and data to an event; None for an event of no interest."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs are ours."""

    addresses: tuple[Address, ...]
    topics: tuple[Digest, ...]
    """First topics; constructors and tokens emit more than what anyone decodes."""

    decode: Decode
    first_block: int
    """The block of the contracts' deployment; nothing before it is read."""


@dataclass(frozen=True, slots=True)
class DecodedLog:
    """An event of one of our contracts; (chain, block hash, log index) names it."""

    event: object
    address: Address
    tx_hash: TxHash
    log_index: int


Log = TypeVar("Log", RawLog, DecodedLog)
_Make = Callable[[Address, Sequence[bytes], bytes, TxHash, int], Log]

MAX_LOG_INDEX: Final = 2**31

TELLING_BITS: Final = 682
"""A bloom filter with more of its 2048 bits set, a third, names too much by chance."""


@dataclass(frozen=True, slots=True)
class LogsOfBlock(Generic[Log]):
    """What an endpoint says that one block holds of ours, in order."""

    number: int
    hash: Digest
    time: UnixTime | None
    """None where the endpoint does not put it with its logs."""

    logs: list[Log] = field(default_factory=list[Log])

    def at(self, chain_id: int) -> BlockRef | None:
        """The block, as far as its logs name it; None when they do not tell its time."""
        return None if self.time is None else BlockRef(chain_id, self.number, self.hash, None, self.time)


class LogReader:
    """Asks for the logs of one filter, and reads the replies."""

    def __init__(self, filter: LogFilter) -> None:
        self.filter = filter
        self._addresses = {hexadecimal(address): address for address in filter.addresses}
        self._topics = {hexadecimal(topic): topic for topic in filter.topics}
        self._blooms = tuple(map(_bloom, filter.addresses))
        self._topic_blooms = tuple(map(_bloom, filter.topics))

    def query(self, **where: str) -> Mapping[str, str | list[str] | list[list[str]]]:
        """The parameter of `eth_getLogs`."""
        return {"address": list(self._addresses), "topics": [list(self._topics)], **where}

    def may_be_in(self, header: Header) -> bool:
        """Whether a block can hold logs of ours; its bloom filter rules most blocks out.

        **Source**: Ethereum yellow paper, 4.4.3, "Holistic validity"; go-ethereum answers eth_getLogs the same way.
        """
        if not header.bloom:
            # Some chains fill it with zeros whatever their blocks hold.
            return not header.is_empty
        return any(header.bloom & bloom == bloom for bloom in self._blooms)

    def are_told_of(self, header: Header) -> bool:
        """Whether a block's bloom filter names an address and a topic of ours, and is too sparse to do so by chance."""
        bloom = header.bloom
        if not bloom or bloom.bit_count() > TELLING_BITS:
            return False
        return all(any(bloom & one == one for one in blooms) for blooms in (self._blooms, self._topic_blooms))

    def raw(self, reply: object, first: int, last: int) -> dict[int, LogsOfBlock[RawLog]]:
        """Logs by block number, to be stored.

        Raises:
            BadReply: a log was not asked for, or is malformed.
            Unavailable: a log's block has just been taken back.
        """
        return self._read(reply, first, last, _raw)

    def decoded(self, reply: object, first: int, last: int) -> dict[int, LogsOfBlock[DecodedLog]]:
        """Logs by block number, to be applied at once; raises as `raw`."""
        return self._read(reply, first, last, self._decoded)

    def decode(self, log: RawLog) -> DecodedLog:
        """The event of a stored log.

        Raises:
            BadReply: no contract of ours sends such a log.
        """
        return self._decoded(log.address, log.topics, log.data, log.tx_hash, log.log_index)

    def _decoded(
        self, address: Address, topics: Sequence[bytes], data: bytes, tx_hash: TxHash, log_index: int
    ) -> DecodedLog:
        try:
            event = self.filter.decode(topics, data)
        except PeerFault as error:
            raise BadReply(f"The RPC endpoint sent a log that is not our contracts' ({error}): retrying.") from error
        return DecodedLog(event, address, tx_hash, log_index)

    def _read(self, reply: object, first: int, last: int, make: _Make[Log]) -> dict[int, LogsOfBlock[Log]]:
        try:
            by_text = self._by_block(cast("Sequence[dict[str, Any]]", read_list(reply)), make)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise BadReply("The RPC endpoint sent a log that was not asked for: check the endpoint.") from error
        found = {of_block.number: of_block for of_block in by_text.values()}
        if len(found) != len(by_text) or (found and not first <= min(found) <= max(found) <= last):
            raise BadReply("The RPC endpoint sent logs of blocks that were not asked for: check the endpoint.")
        for of_block in found.values():
            of_block.logs.sort(key=_position)
            positions = [log.log_index for log in of_block.logs]
            if len(set(positions)) != len(positions) or not 0 <= positions[0] <= positions[-1] < MAX_LOG_INDEX:
                raise BadReply("The RPC endpoint sent logs in impossible places: check the endpoint.")
        return found

    def _by_block(self, items: Sequence[dict[str, Any]], make: _Make[Log]) -> dict[str, LogsOfBlock[Log]]:
        """One loop over many thousands of logs: what they share is looked up by its text, the rest cut out of it.

        Whatever is not a log raises on the way.
        """
        by_text: dict[str, LogsOfBlock[Log]] = {}
        block_text = number_text = tx_text = ""
        tx_hash = TxHash(b"")
        logs: list[Log] = []
        for item in items:
            if item.get("removed") is True:
                raise Unavailable("The chain takes a block back while its logs are read: looking again.")
            if item["blockHash"] != block_text:
                block_text, number_text = item["blockHash"], item["blockNumber"]
                of_block = by_text.get(block_text) or by_text.setdefault(block_text, _block_of(item))
                if of_block.number != int(number_text, 16):
                    raise ValueError("two numbers of one block")
                logs = of_block.logs
            elif item["blockNumber"] != number_text:
                raise ValueError("two numbers of one block")
            if item["transactionHash"] != tx_text:
                tx_text = item["transactionHash"]
                tx_hash = TxHash(read_digest(tx_text))
            address = self._addresses.get(item["address"]) or self._addresses[item["address"].lower()]
            signature, *indexed = item["topics"]
            topics: list[bytes] = [self._topics.get(signature) or self._topics[signature.lower()]]
            topics += [_fromhex(topic.removeprefix("0x")) for topic in indexed]
            data = _fromhex(item["data"].removeprefix("0x"))
            logs.append(make(address, topics, data, tx_hash, int(item["logIndex"], 16)))
        return by_text


def _raw(address: Address, topics: Sequence[bytes], data: bytes, tx_hash: TxHash, log_index: int) -> RawLog:
    if any(len(topic) != 32 for topic in topics):
        raise ValueError("a topic has 32 bytes")
    return RawLog(address, tuple(map(Digest, topics)), data, tx_hash, log_index)


_fromhex: Final = bytes.fromhex
_position: Final = attrgetter("log_index")


def _block_of(fields: Mapping[str, object]) -> LogsOfBlock[Log]:
    # Absent, empty or zero at nodes that do not tell it.
    time = read_quantity(fields.get("blockTimestamp") or "0x0")
    number, block_hash = read_quantity(fields["blockNumber"]), read_digest(fields["blockHash"])
    return LogsOfBlock(number, block_hash, UnixTime(time) if time else None)


def _bloom(name: Address | Digest) -> int:
    """The three bits of an address or a topic in a block's bloom filter."""
    hashed = keccak(name)
    return sum({1 << (int.from_bytes(hashed[at : at + 2], "big") & 2047) for at in (0, 2, 4)})
