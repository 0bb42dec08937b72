"""Leaf lists that no honest provider commits to: whatever their leaves say, they are encoded like any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from capanode.proofs import trace
from capanode.proofs.leaf_list import LeafList, Row
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol.ids import Cid, DealId


@dataclass(frozen=True, slots=True)
class Loose:
    """A list of leaves, unchecked."""

    RECORD: ClassVar[tuple[str, int]] = LeafList.RECORD

    deal_id: DealId
    first_step: int
    leaves: tuple[Row, ...]


def loosely_listed(deal_id: DealId, leaves: Sequence[Leaf], manifests: Sequence[Cid | None]) -> Loose:
    """As `leaf_list.listed`."""
    rows = [
        (leaf.state_root, leaf.exit_code, leaf.stdout_root, leaf.done, manifest)
        for leaf, manifest in zip(leaves, manifests, strict=True)
    ]
    return Loose(deal_id, leaves[0].index, tuple(rows))


def trace_of(found: Loose) -> Trace:
    """As `leaf_list.trace_of`."""
    leaves = [Leaf(found.first_step + at, *row[:4]) for at, row in enumerate(found.leaves)]
    return Trace(tuple(trace.leaf_hash(found.deal_id, leaf) for leaf in leaves))
