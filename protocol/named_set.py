"""Named sets: arbiters whom both sides of a deal accept by name, where no class of them is large enough to judge.

Nobody is drawn from such a set and nothing is staked in it: each of its arbiters has a seat in every case, the quorum
decides, and there is no appeal. The chain keeps who is in it under the hash of their addresses.

**Source**: docs/protocol.md §2, "Rules", and §12; `IPools.nameSet`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from capanode.protocol.ids import ZERO_ADDRESS, Address, Digest
from capanode.protocol.judging import named_pool

MOST_NAMED: Final = 15
"""Arbiters of one set. Source: `IPools.BadSet`."""


@dataclass(frozen=True, slots=True)
class NamedSet:
    """Arbiters in ascending order, of whom a quorum must agree: more than half, so that no two verdicts have one."""

    arbiters: tuple[Address, ...]
    quorum: int

    def __post_init__(self) -> None:
        if self.arbiters != in_order(self.arbiters):
            raise ValueError("the named arbiters are not in ascending order")
        count = len(self.arbiters)
        if not count < 2 * self.quorum <= 2 * count:
            raise ValueError(f"of {count} named arbiters {count // 2 + 1} to {count} have to agree")

    @property
    def pool(self) -> Digest:
        """The set's name on chain."""
        return named_pool(self.arbiters)

    def is_backed_by(self, trusted: Collection[Address]) -> bool:
        """Whether arbiters that somebody trusts make up a quorum: then the others can neither convict nor hinder."""
        return self.trusted_in(trusted) >= self.quorum

    def trusted_in(self, trusted: Collection[Address]) -> int:
        """How many of the set somebody trusts."""
        return sum(one in trusted for one in self.arbiters)


def in_order(arbiters: Collection[Address]) -> tuple[Address, ...]:
    """The arbiters of a set as the chain wants them.

    Raises:
        ValueError: they are too few or too many, one is named twice, or one is no address.
    """
    if not 0 < len(arbiters) <= MOST_NAMED:
        raise ValueError(f"a named set has 1 to {MOST_NAMED} arbiters, not {len(arbiters)}")
    if any(len(one) != 20 or one == ZERO_ADDRESS for one in arbiters):
        raise ValueError("a named arbiter's address is malformed")
    ordered = tuple(sorted(arbiters))
    for one, following in pairwise(ordered):
        if one == following:
            raise ValueError(f"the arbiter 0x{one.hex()} is named twice")
    return ordered
