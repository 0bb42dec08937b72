"""Which logs are ours, and reading them as from a stranger: each is compared with what was asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

from eth_hash.auto import keccak

from capanode.node.chain.blocks import BlockRef, RawLog
from capanode.node.chain.headers import Header
from capanode.node.chain.wire import BadReply, hexadecimal, read_bytes, read_digest, read_list, read_quantity
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

    def raw(self, reply: object, first: int, last: int) -> dict[int, LogsOfBlock[RawLog]]:
        """Logs by block number, to be stored.

        Raises:
            BadReply: a log was not asked for, or is malformed.
            Unavailable: a log's block has just been taken back.
        """
        return self._read(reply, first, last, RawLog)

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

    def _read(
        self,
        reply: object,
        first: int,
        last: int,
        make: Callable[[Address, tuple[Digest, ...], bytes, TxHash, int], Log],
    ) -> dict[int, LogsOfBlock[Log]]:
        by_text: dict[str, LogsOfBlock[Log]] = {}
        for item in read_list(reply):
            try:
                self._read_one(item, by_text, make)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise BadReply("The RPC endpoint sent a log that was not asked for: check the endpoint.") from error
        found = {of_block.number: of_block for of_block in by_text.values()}
        if len(found) != len(by_text) or (found and not first <= min(found) <= max(found) <= last):
            raise BadReply("The RPC endpoint sent logs of blocks that were not asked for: check the endpoint.")
        for of_block in found.values():
            of_block.logs.sort(key=_position)
            if len({log.log_index for log in of_block.logs}) != len(of_block.logs):
                raise BadReply("The RPC endpoint sent a log twice: check the endpoint.")
        return found

    def _read_one(
        self,
        item: object,
        by_text: dict[str, LogsOfBlock[Log]],
        make: Callable[[Address, tuple[Digest, ...], bytes, TxHash, int], Log],
    ) -> None:
        """One log of many thousands: what they share is looked up by its text, what is left is cut out of it."""
        fields = cast(dict[str, Any], item)  # anything else raises at the first look-up
        topics: Any = fields["topics"]
        if fields.get("removed") is True:
            raise Unavailable("The chain takes a block back while its logs are read: looking again.")
        of_block = by_text.get(fields["blockHash"])
        if of_block is None:
            of_block = by_text[fields["blockHash"]] = _block_of(fields)
        elif of_block.number != int(fields["blockNumber"], 16):
            raise ValueError("two numbers of one block")
        of_block.logs.append(
            make(
                self._addresses[fields["address"].lower()],
                (self._topics[topics[0].lower()], *map(read_digest, topics[1:])),
                read_bytes(fields["data"]),
                TxHash(read_digest(fields["transactionHash"])),
                read_quantity(fields["logIndex"]),
            )
        )


_position: Final = attrgetter("log_index")


def _block_of(fields: Mapping[str, object]) -> LogsOfBlock[Log]:
    # Absent, empty or zero at nodes that do not tell it.
    time = read_quantity(fields.get("blockTimestamp") or "0x0")
    number, block_hash = read_quantity(fields["blockNumber"]), read_digest(fields["blockHash"])
    return LogsOfBlock(number, block_hash, UnixTime(time) if time else None)


def _bloom(address: Address) -> int:
    """The three bits of an address in a block's bloom filter."""
    hashed = keccak(address)
    return sum({1 << (int.from_bytes(hashed[at : at + 2], "big") & 2047) for at in (0, 2, 4)})
