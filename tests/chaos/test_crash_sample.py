"""A few kills of `make chaos-crash`, others in each run: a deal ends the same however often a node died in it."""

import random
from pathlib import Path

import pytest

from tests.chaos.crash import chaos

LIVES = 4
SAMPLED = ("lock", "direct", "init")


@pytest.mark.timeout(400)
def test_deal_ends_the_same_though_its_nodes_are_killed(tmp_path: Path, dice: random.Random) -> None:
    findings = chaos(tmp_path, "*", dice.randrange(10**6), scenarios=SAMPLED, most=LIVES, towns=1)
    assert findings.mismatches == []
    assert len(findings.killed) >= LIVES
