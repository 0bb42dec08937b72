"""What is projected from a chain equals the chain, through hundreds of random reorganisations."""

import random
from collections import Counter

import pytest

from tests.chaos.reorg import ROUNDS_PER_WORLD, Kind, Moment, Pace, Tally, run_rounds, scratch

WORLDS = 13
"""Of `ROUNDS_PER_WORLD` rounds each, so 520 rounds; a test a world, as each has to end in time."""


@pytest.fixture(scope="module")
def tried() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize("world", range(WORLDS))
async def test_random_reorganisations_leave_the_ground_truth(
    world: int, dice: random.Random, tried: Counter[str]
) -> None:
    seed, tally = dice.randrange(2**32), Tally()
    with scratch() as folder:
        await run_rounds(folder, seed, ROUNDS_PER_WORLD, tally)
    assert not tally.mismatches, f"repeat with: python -m tests.chaos.reorg --rounds {ROUNDS_PER_WORLD} --seed {seed}"
    tried += tally.kinds
    if world == WORLDS - 1:
        assert all(tried[name] for name in (*Kind, *Moment, *Pace))
