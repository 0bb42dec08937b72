"""The trace of an execution: one leaf before the first step and one after each, under a Merkle root.

The layouts are fixed ABI words, so that the contract recomputes them from calldata.

**Source**: docs/protocol.md §3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from capanode.protocol.ids import ZERO_DIGEST, DealId, Digest

LEAF_TAG: Final = Digest(keccak(b"capanode.leaf.1"))
NODE_TAG: Final = Digest(keccak(b"capanode.node.1"))
EMPTY: Final = Digest(keccak(b"capanode.empty.1"))
"""Stands for a leaf that is not there; no leaf hashes to it."""

MAX_POSTED_STEPS: Final = 16
"""Up to here a commit of several steps carries all its leaves; above, proofs of the first and the last."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The state after step `index - 1` (before the first step: the inputs), as one word on chain.

    `exit_code` is the exit code of that step, `stdout_root` zero unless standard output is declared
    deterministic.
    """

    index: int
    state_root: Digest
    exit_code: int
    stdout_root: Digest
    done: bool

    def __post_init__(self) -> None:
        if not 0 <= self.index < 2**32:
            raise ValueError("the leaf's index is out of range")
        if not 0 <= self.exit_code < 2**8:
            raise ValueError("the exit code is out of range (0 to 255)")
        if len(self.state_root) != 32 or len(self.stdout_root) != 32:
            raise ValueError("a leaf's root is not 32 bytes")


@dataclass(frozen=True, slots=True)
class Trace:
    """The `k + 1` leaves of `k` steps of one deal, hashed."""

    leaves: tuple[Digest, ...]

    def __post_init__(self) -> None:
        if len(self.leaves) < 2:
            raise ValueError("a trace has at least one step")

    @property
    def step_count(self) -> int:
        """`k`, one less than the leaves."""
        return len(self.leaves) - 1


def first_leaf(index: int, input_root: Digest) -> Leaf:
    """The leaf with which a trace begins: the inputs, nothing run yet."""
    return Leaf(index, input_root, 0, ZERO_DIGEST, done=False)


def leaf_hash(deal_id: DealId, leaf: Leaf) -> Digest:
    """keccak256(LEAF ‖ dealId ‖ index ‖ stateRoot ‖ exit ‖ stdoutRoot ‖ done), seven words."""
    return Digest(
        keccak(
            LEAF_TAG
            + deal_id
            + _word(leaf.index)
            + leaf.state_root
            + _word(leaf.exit_code)
            + leaf.stdout_root
            + _word(leaf.done)
        )
    )


def node_hash(left: Digest, right: Digest) -> Digest:
    """keccak256(NODE ‖ left ‖ right)."""
    return Digest(keccak(NODE_TAG + left + right))


def trace_of(deal_id: DealId, leaves: Sequence[Leaf]) -> Trace:
    """The trace of leaves with consecutive indices, of which only the last is done."""
    indices = [leaf.index for leaf in leaves]
    if indices != list(range(indices[0], indices[0] + len(indices))):
        raise ValueError("the leaves are not numbered one after the other")
    if [leaf.done for leaf in leaves] != [False] * (len(leaves) - 1) + [True]:
        raise ValueError("the last leaf, and only the last, is done")
    return Trace(tuple(leaf_hash(deal_id, leaf) for leaf in leaves))


def trace_for_single_step(
    deal_id: DealId,
    input_root: Digest,
    result_root: Digest,
    exit_code: int,
    stdout_root: Digest,
    first_step: int = 0,
) -> Trace:
    """The two leaves of a job that runs in one step."""
    last = Leaf(first_step + 1, result_root, exit_code, stdout_root, done=True)
    return trace_of(deal_id, (first_leaf(first_step, input_root), last))


def trace_root(trace: Trace) -> Digest:
    """The Merkle root over the leaves, padded on the right with `EMPTY` to a power of two."""
    return _levels(trace)[-1][0]


def proof(trace: Trace, position: int) -> tuple[Digest, ...]:
    """The siblings from the leaf at this position (0 is the first) up to the root."""
    if not 0 <= position < len(trace.leaves):
        raise ValueError("there is no leaf at this position")
    return tuple(level[(position >> height) ^ 1] for height, level in enumerate(_levels(trace)[:-1]))


def nodes_below(trace: Trace, height: int, index: int, levels: int) -> tuple[Digest, ...]:
    """The nodes so many levels below node number `index` of those `height` levels above the leaves, left to right."""
    all_levels = _levels(trace)
    if not 0 <= levels <= height < len(all_levels) or not 0 <= index < len(all_levels[height]):
        raise ValueError("there is no such node in this trace")
    return tuple(all_levels[height - levels][index << levels : (index + 1) << levels])


def root_from_proof(leaf: Digest, position: int, siblings: Sequence[Digest]) -> Digest:
    """The root that a proof leads to."""
    node = leaf
    for height, sibling in enumerate(siblings):
        is_right = position >> height & 1
        node = node_hash(sibling, node) if is_right else node_hash(node, sibling)
    return node


def posted(trace: Trace) -> tuple[Digest, ...]:
    """What a commit carries as its `trace`: nothing for one step, all leaves, or the root and two proofs."""
    if trace.step_count == 1:
        return ()
    if trace.step_count <= MAX_POSTED_STEPS:
        return trace.leaves
    return (trace_root(trace), *proof(trace, 0), *proof(trace, trace.step_count))


def commitment_digest(
    root: Digest,
    result_root: Digest,
    delivery_root: Digest,
    leaves_cid: Digest,
    step_count: int,
    status: int,
) -> Digest:
    """What a deal's slot keeps of a commit: keccak256 of the six words in this order."""
    return Digest(keccak(root + result_root + delivery_root + leaves_cid + _word(step_count) + _word(status)))


def _levels(trace: Trace) -> list[list[Digest]]:
    """The tree from its padded leaves up to its root."""
    width = 1 << (len(trace.leaves) - 1).bit_length()
    level = [*trace.leaves, *[EMPTY] * (width - len(trace.leaves))]
    levels = [level]
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
        levels.append(level)
    return levels


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")
