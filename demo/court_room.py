"""What happens before the court, as everybody can read it from the chain: events, their senders, the gas."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import quantity, read_object, read_quantity
from capanode.node.units import tokens

WATCHED: Final = (
    bindings.Challenged,
    bindings.Joined,
    bindings.AnswerShown,
    bindings.Drawing,
    bindings.Drawn,
    bindings.VoteCast,
    bindings.VoteRevealed,
    bindings.Resolved,
    bindings.Appealed,
    bindings.Settled,
    bindings.CommitteePaid,
    bindings.DealJudged,
)
KINDS: Final = ("STEP", "DATA", "SPEC", "WITHHELD", "AUDIT")
VOTES: Final = ("none", "uphold", "overturn", "not reproducible", "not available")
VERDICTS: Final = ("NONE", "UPHELD", "OVERTURNED", "VOID", "SPLIT", "LAPSED", "MOOT")


@dataclass(frozen=True, slots=True)
class Happened:
    """One event, and the transaction that it came from."""

    event: Any
    block: int
    tx_hash: str
    sender: str
    gas: int


class CourtRoom:
    """Reads the events of a chain's court, each once, in their order."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._next_block = 0

    async def listen(self) -> list[Happened]:
        """What is new since the last call."""
        head = read_quantity(await self._rpc.call("eth_blockNumber"))
        if head < self._next_block:
            return []
        topics = ["0x" + event.TOPIC.hex() for event in WATCHED]
        query = {"fromBlock": quantity(self._next_block), "toBlock": quantity(head), "topics": [topics]}
        found = await self._rpc.call("eth_getLogs", query)
        assert isinstance(found, list)
        self._next_block = head + 1
        return [await self._read(read_object(entry)) for entry in found]

    async def _read(self, entry: Any) -> Happened:
        receipt = read_object(await self._rpc.call("eth_getTransactionReceipt", entry["transactionHash"]))
        topics = [bytes.fromhex(topic[2:]) for topic in entry["topics"]]
        event = bindings.decode_log(topics, bytes.fromhex(entry["data"][2:]))
        block, gas = read_quantity(receipt["blockNumber"]), read_quantity(receipt["gasUsed"])
        return Happened(event, block, str(entry["transactionHash"]), str(receipt["from"]), gas)


def sentence(happened: Happened) -> str:
    """An event in words, with its sender's address where that matters."""
    match happened.event:
        case bindings.Challenged() as one:
            return f"{happened.sender} disputes step {one.step} with a bond of {tokens(one.bond)} tokens"
        case bindings.AnswerShown() as one:
            return f"0x{one.challenger.hex()} shows the leaf that it computed"
        case bindings.Drawing() as one:
            return f"block {one.seed_block} will draw {one.seats} arbiters"
        case bindings.Drawn() as one:
            return f"the committee: {', '.join(f'0x{arbiter.hex()}' for arbiter in one.arbiters)}"
        case bindings.VoteCast():
            return f"{happened.sender} has recomputed the step, and votes hidden"
        case bindings.VoteRevealed() as one:
            return f"{happened.sender} reveals its vote: {VOTES[one.vote]}, leaf {one.leaf.hex()[:12]}"
        case bindings.Resolved() as one:
            return f"the committee agrees on leaf {one.leaf.hex()[:12]}: {VERDICTS[one.verdict]}"
        case bindings.DealJudged() as one:
            return f"{tokens(one.slashed)} tokens of the provider's are slashed, {tokens(one.returned)} go back"
        case bindings.Settled() as one:
            return f"the bounty is {tokens(one.bounty)} tokens, {tokens(one.burned)} are burned"
        case bindings.CommitteePaid():
            return "the committee is paid"
        case other:
            return type(other).__name__


def gas_of(all_of_it: Sequence[Happened]) -> int:
    """The gas of the transactions behind the events, each counted once."""
    return sum({one.tx_hash: one.gas for one in all_of_it}.values())


def found(all_of_it: Sequence[Happened], kind: type) -> Iterator[Any]:
    """The events of one kind."""
    return (one.event for one in all_of_it if isinstance(one.event, kind))
