"""What an operator lets this node look at, and risk, in the results of others."""

from dataclasses import dataclass
from typing import Final

from capanode.protocol.ids import Address, Ppm, Wei
from capanode.protocol.judging import VerificationClass

MIN_SOURCES: Final = 2
"""Endpoints that have to say the same before a bond is put up; one is enough on a devnet."""


@dataclass(frozen=True, slots=True)
class Appetite:
    """What an operator wants to look at, and to risk."""

    sample_ppm: Ppm
    max_bonds_wei: Wei
    """Bonds of all open challenges together."""

    min_price_wei: Wei
    """Results worth less are not looked at."""

    classes: frozenset[VerificationClass]
    max_steps: int
    """Steps of one deal that are computed again, drawn by chance; zero means all."""

    is_dry: bool
    """Whether nothing is sent: what it would have earned is told."""

    named_arbiters: frozenset[Address] = frozenset()
    """Before a named set nothing is staked, unless a quorum of it is of these."""

    min_sources: int = MIN_SOURCES
