"""The way down a committed trace whose leaves are shown eight nodes at a time, towards the first that is wrong.

The shown nodes lead to the root that the chain has bound. Where that is not the root of the trace that was computed
here, one of them differs on each level, down to a leaf.

**Source**: docs/protocol.md §12, "Forced reveal".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from capanode.proofs.trace import EMPTY, Leaf, Trace, leaf_hash, node_hash, nodes_below
from capanode.protocol.ids import DealId, Digest


@dataclass(frozen=True, slots=True)
class Turning:
    """Where the way goes on: the number of a node among those shown, and its siblings up to the one asked about.

    `position` is that of the leaf, where leaves are what was shown.
    """

    child: int
    siblings: tuple[Digest, ...]
    position: int | None


def retraced(deal_id: DealId, leaves: Sequence[Leaf], step_count: int) -> Trace:
    """A recomputed trace in the shape of a committed one of `step_count` steps; one that ended earlier is padded."""
    hashes = [leaf_hash(deal_id, leaf) for leaf in leaves[: step_count + 1]]
    return Trace((*hashes, *[EMPTY] * (step_count + 1 - len(hashes))))


def turning(ours: Trace, height: int, index: int, shown: Sequence[Digest]) -> Turning | None:
    """The first of the nodes shown below node `index` at `height` that differs; None where the whole trace does not.

    Where only what lies beyond the last leaf differs, which no honest trace has, it is the last node with a leaf.
    """
    levels = len(shown).bit_length() - 1
    own = nodes_below(ours, height, index, levels)
    if tuple(shown) == own and height == ours.step_count.bit_length():
        return None
    first, below = index << levels, height - levels
    real = [child for child in range(len(shown)) if (first + child) << below <= ours.step_count]
    child = next((one for one in real if shown[one] != own[one]), real[-1])
    return Turning(child, _siblings(shown, child), first + child if below == 0 else None)


def _siblings(nodes: Sequence[Digest], child: int) -> tuple[Digest, ...]:
    found: list[Digest] = []
    level = list(nodes)
    while len(level) > 1:
        found.append(level[child ^ 1])
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
        child >>= 1
    return tuple(found)
