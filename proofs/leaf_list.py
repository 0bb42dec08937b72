"""The published list of all leaves of a trace: who has it can name any step, prove its leaf, and fetch its state.

A list is the provider's word until its leaves hash to the trace root that the chain has bound; from then on it is the
provider's commitment, leaf by leaf. The manifests that it names are bound by the state roots of their leaves.

**Source**: docs/protocol.md §3, "Leaf list".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from capanode.proofs import trace
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import ZERO_DIGEST, Cid, DealId, Digest
from capanode.protocol.records import MAX_STEPS

MAX_LEAF_LIST_BYTES: Final = 16 * 2**20
"""Longest encoding that is read; 2**16 leaves need 9 MiB."""

_CID = re.compile(r"b[a-z2-7]{20,120}")

Row = tuple[Digest, int, Digest, bool, Cid | None]
"""State root, exit code, stdout root, done, and the blob that lists the state; none where a job starts from nothing."""


class BadLeafList(BadMessage):
    """A leaf list that is not what the chain has bound. The sender's fault."""


@dataclass(frozen=True, slots=True)
class LeafList:
    """The leaves of one deal's trace, that of `first_step` first."""

    RECORD: ClassVar[tuple[str, int]] = ("leaf-list", 1)

    deal_id: DealId
    first_step: int
    leaves: tuple[Row, ...]

    def __post_init__(self) -> None:
        _require(len(self.deal_id) == 32, "the deal id is not 32 bytes")
        _require(2 <= len(self.leaves) <= MAX_STEPS + 1, f"the number of leaves is out of range (2 to {MAX_STEPS + 1})")
        _require(0 <= self.first_step < 2**32 - len(self.leaves), "the first step is out of range")
        for position, row in enumerate(self.leaves):
            self._check(position, row)

    def _check(self, position: int, row: Row) -> None:
        _, exit_code, stdout_root, done, manifest = row
        self.leaf(position)
        is_first, is_last = position == 0, position == len(self.leaves) - 1
        _require(done == is_last, "the last leaf, and only the last, is done")
        _require(exit_code == 0 or is_last, "a trace goes on after a step that failed")
        _require(not is_first or stdout_root == ZERO_DIGEST, "the first leaf has standard output")
        is_start = is_first and self.first_step == 0
        _require((manifest is None) == is_start, "every state but the empty one of the start is in a manifest")
        _require(manifest is None or _CID.fullmatch(manifest) is not None, "a manifest's CID is malformed")

    @property
    def step_count(self) -> int:
        """`k`, one less than the leaves."""
        return len(self.leaves) - 1

    def leaf(self, position: int) -> Leaf:
        """The leaf at this position, 0 is the first; raises ValueError for a malformed one."""
        state_root, exit_code, stdout_root, done, _ = self.leaves[position]
        return Leaf(self.first_step + position, state_root, exit_code, stdout_root, done)

    def as_leaves(self) -> tuple[Leaf, ...]:
        """All leaves, in order."""
        return tuple(self.leaf(position) for position in range(len(self.leaves)))

    def manifest(self, position: int) -> Cid | None:
        """The blob that lists the state at this position; None for the empty state that a job starts with."""
        return self.leaves[position][4]


@dataclass(frozen=True, slots=True)
class ProvedLeaf:
    """A leaf at its position in a trace, and the siblings that lead from it to the root, the lowest first."""

    position: int
    leaf: Leaf
    siblings: tuple[Digest, ...]


def listed(deal_id: DealId, leaves: Sequence[Leaf], manifests: Sequence[Cid | None]) -> LeafList:
    """The list of a whole trace, with the manifest of each leaf's state."""
    rows = [
        (leaf.state_root, leaf.exit_code, leaf.stdout_root, leaf.done, manifest)
        for leaf, manifest in zip(leaves, manifests, strict=True)
    ]
    return LeafList(deal_id, leaves[0].index, tuple(rows))


def decode(data: bytes) -> LeafList:
    """The leaf list that `data` encodes; whether it is that of a deal, `check` says.

    Raises:
        BadMessage: too long, not canonical, or no trace. The sender's fault.
    """
    if len(data) > MAX_LEAF_LIST_BYTES:
        raise BadLeafList(f"the leaf list is longer than {MAX_LEAF_LIST_BYTES} bytes")
    return encoding.decode(LeafList, data)


def check(found: LeafList, deal_id: DealId, first_step: int, step_count: int, trace_root: Digest) -> Trace:
    """The trace of a list that is the one which the chain has bound.

    Raises:
        BadLeafList: of another deal, with other steps, or its leaves do not lead to the root. The sender's fault.
    """
    if (found.deal_id, found.first_step, found.step_count) != (deal_id, first_step, step_count):
        raise BadLeafList("the leaf list is of another deal, or has other steps than were committed")
    whole = trace_of(found)
    if trace.trace_root(whole) != trace_root:
        raise BadLeafList("the leaf list does not lead to the trace root that is on chain")
    return whole


@dataclass(frozen=True, slots=True)
class _Published:
    """A list as it may have been committed to, whatever its leaves say."""

    RECORD: ClassVar[tuple[str, int]] = LeafList.RECORD

    deal_id: DealId
    first_step: int
    leaves: tuple[Row, ...]

    def __post_init__(self) -> None:
        _require(2 <= len(self.leaves) <= MAX_STEPS + 1, f"the number of leaves is out of range (2 to {MAX_STEPS + 1})")
        _require(0 <= self.first_step < 2**32 - len(self.leaves), "the first step is out of range")


def violation(data: bytes, deal_id: DealId, first_step: int, step_count: int, trace_root: Digest) -> ProvedLeaf | None:
    """The first leaf of a committed list that says what none between the first and the last may, with its proof.

    That it failed, or was the last one. None where the list is not the committed one, or says nothing of that kind.
    """
    try:
        found = encoding.decode(_Published, data[: MAX_LEAF_LIST_BYTES + 1])
        leaves = [Leaf(found.first_step + at, *row[:4]) for at, row in enumerate(found.leaves)]
    except (BadMessage, ValueError):
        return None
    whole = Trace(tuple(trace.leaf_hash(deal_id, leaf) for leaf in leaves))
    if (found.first_step, whole.step_count) != (first_step, step_count) or trace.trace_root(whole) != trace_root:
        return None
    for position, leaf in enumerate(leaves[1:-1], start=1):
        if leaf.exit_code != 0 or leaf.done:
            return ProvedLeaf(position, leaf, trace.proof(whole, position))
    return None


def trace_of(found: LeafList) -> Trace:
    """The leaves, hashed."""
    return trace.trace_of(found.deal_id, found.as_leaves())


def first_divergence(theirs: Sequence[Leaf], ours: Sequence[Leaf]) -> int | None:
    """The position of the first leaf in which two traces of the same job differ, None when there is none.

    The step that led to it, one position before, is the one to challenge. A trace that ends earlier has another `done`
    in its last leaf, so the shorter one decides where both exist.
    """
    for position, (their, our) in enumerate(zip(theirs, ours, strict=False)):
        if their != our:
            return position
    return None if len(theirs) == len(ours) else min(len(theirs), len(ours))


def proved(found: LeafList, position: int) -> ProvedLeaf:
    """A leaf with its proof; a challenge of step p names those at p and p + 1."""
    return ProvedLeaf(position, found.leaf(position), trace.proof(trace_of(found), position))


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
