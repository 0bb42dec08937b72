"""One game of `make chaos-disputes`: its transactions are taken back, and the dispute ends the same."""

import random
from pathlib import Path

import pytest

from tests.chaos.court_reorgs import GAMES, play

SAMPLED = "appealed"


@pytest.mark.timeout(600)
def test_each_transaction_of_a_dispute_is_taken_back_and_the_end_is_the_same(
    tmp_path: Path, dice: random.Random
) -> None:
    played = play(SAMPLED, tmp_path, dice)
    assert played.mismatches == ()
    assert played.taken.keys() == GAMES[SAMPLED].moves.keys()
