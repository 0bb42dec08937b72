"""A committee of which a part belongs to one owner: drawn by stake, enlarged by each appeal, and what comes of it.

The owner's seats vote for the provider, the others for the truth. Who is right appeals every round that it loses.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from random import Random
from typing import Final

from capanode.protocol.tariff import PPM

ROUNDS: Final = (3, 7, 15)


class End(StrEnum):
    """What a dispute about a wrong result ends as."""

    OVERTURNED = "overturned"
    UPHELD = "upheld"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Judged:
    """The end, how many rounds it took, and the seats of the owner in all of them."""

    end: End
    rounds: int
    owned: int

    @property
    def seats(self) -> int:
        return sum(ROUNDS[: self.rounds])


def judge(owned_ppm: int, dice: Random) -> Judged:
    """One dispute, played."""
    owned_before = 0
    for number, seats in enumerate(ROUNDS, 1):
        owned = sum(dice.randrange(PPM) < owned_ppm for _ in range(seats))
        owned_before += owned
        end = _end(seats, owned)
        if end is End.OVERTURNED or number == len(ROUNDS):
            return Judged(end, number, owned_before)
    raise AssertionError("there is no round")


@cache
def chances(owned_ppm: int) -> dict[Judged, float]:
    """Every way in which a dispute may go, with its probability."""
    found: dict[Judged, float] = {}
    _rounds(owned_ppm / PPM, 0, 0, 1.0, found)
    return found


def _rounds(share: float, number: int, owned_before: int, chance: float, found: dict[Judged, float]) -> None:
    seats = ROUNDS[number]
    for owned in range(seats + 1):
        here = chance * math.comb(seats, owned) * share**owned * (1 - share) ** (seats - owned)
        end = _end(seats, owned)
        if end is End.OVERTURNED or number + 1 == len(ROUNDS):
            judged = Judged(end, number + 1, owned_before + owned)
            found[judged] = found.get(judged, 0.0) + here
        else:
            _rounds(share, number + 1, owned_before + owned, here, found)


def _end(seats: int, owned: int) -> End:
    """Two thirds of the drawn seats decide; short of them nothing is proved."""
    if 3 * (seats - owned) >= 2 * seats:
        return End.OVERTURNED
    return End.UPHELD if 3 * owned >= 2 * seats else End.VOID
