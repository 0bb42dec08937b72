"""What a provider states about a result, as the deal market takes it.

**Source**: docs/protocol.md §3; `Commitment` in contracts/src/types/Deal.sol.
"""

from dataclasses import dataclass

from capanode.proofs import trace
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol.ids import UINT96_MAX, ZERO_DIGEST, DealId, Digest, Wei


@dataclass(frozen=True, slots=True)
class Commitment:
    """The contract's struct, fields in its order; `status` is the exit code of the last step.

    `delivery_root` is the root of the bytes as served, `leaves_cid` the digest in the CID of the leaf list, zero
    for one step.
    """

    result_root: Digest
    delivery_root: Digest
    stdout_root: Digest
    leaves_cid: Digest
    step_count: int
    status: int
    amount_wei: Wei

    def __post_init__(self) -> None:
        digests = (self.result_root, self.delivery_root, self.stdout_root, self.leaves_cid)
        _require(all(len(digest) == 32 for digest in digests), "a digest of the commitment is not 32 bytes")
        _require(1 <= self.step_count < 2**32, "the number of steps is out of range")
        _require(0 <= self.status < 2**8, "the exit code is out of range (0 to 255)")
        _require(0 <= self.amount_wei <= UINT96_MAX, "the amount is out of range")


def commitment_of_single_step(result_root: Digest, stdout_root: Digest, status: int, amount_wei: Wei) -> Commitment:
    """The commitment of an unsealed job that ran in one step."""
    return Commitment(result_root, result_root, stdout_root, ZERO_DIGEST, 1, status, amount_wei)


def commitment_of_steps(
    result_root: Digest, stdout_root: Digest, status: int, amount_wei: Wei, *, step_count: int, leaves_cid: Digest
) -> Commitment:
    """The commitment of an unsealed job that ran in several steps; all but the count are the last one's."""
    return Commitment(result_root, result_root, stdout_root, leaves_cid, step_count, status, amount_wei)


def first_and_last_leaf(
    commitment: Commitment, deal_id: DealId, input_root: Digest, first_step: int
) -> tuple[Digest, Digest]:
    """The two leaves that follow from deal and commitment alone; the contract recomputes them too."""
    last = Leaf(
        first_step + commitment.step_count,
        commitment.result_root,
        commitment.status,
        commitment.stdout_root,
        done=True,
    )
    first = trace.first_leaf(first_step, input_root)
    return trace.leaf_hash(deal_id, first), trace.leaf_hash(deal_id, last)


def trace_of_single_step(commitment: Commitment, deal_id: DealId, input_root: Digest, first_step: int = 0) -> Trace:
    """The whole trace of a job that ran in one step."""
    _require(commitment.step_count == 1, "the commitment has more than one step")
    return Trace(first_and_last_leaf(commitment, deal_id, input_root, first_step))


def commitment_digest(commitment: Commitment, trace_root: Digest) -> Digest:
    """What a deal's slot binds of the commitment; the amount is bound beside it."""
    return trace.commitment_digest(
        trace_root,
        commitment.result_root,
        commitment.delivery_root,
        commitment.leaves_cid,
        commitment.step_count,
        commitment.status,
    )


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
