"""What is projected from a chain equals the chain, through hundreds of random reorganisations."""

import random

from tests.chaos.reorg import Kind, Moment, Tally, run_rounds, scratch

ROUNDS = 500


async def test_random_reorganisations_leave_the_ground_truth(dice: random.Random) -> None:
    seed, tally = dice.randrange(2**32), Tally()
    with scratch() as folder:
        await run_rounds(folder, seed, ROUNDS, tally)
    assert not tally.mismatches, f"repeat with: python -m tests.chaos.reorg --rounds {ROUNDS} --seed {seed}"
    assert tally.rounds == ROUNDS
    assert all(tally.kinds[name] for name in (*Kind, *Moment))
