"""`capanode wallet arbiter …` against a node."""

import pytest

from capanode.node.cli.exits import Exit
from tests.cli.conftest import Town

ONE, TWO = "0x" + "0a" * 20, "0x" + "0b" * 20
NAMED = {"pool": "0x" + "0c" * 32, "arbiters": [ONE, TWO], "fees_wei": 2 * 10**18, "serves": True}
ARBITER = {
    "arbiter": ONE,
    "hardware_class": "x86_64-v3",
    "duty": "none",
    "stake_wei": 0,
    "fees_wei": 0,
    "ready_at": None,
    "pool_active": 0,
    "pool_stake_wei": 0,
    "min_stake_wei": 10**18,
    "named_sets": [NAMED],
}


@pytest.mark.parametrize("verb", ["enroll", "leave"])
async def test_a_named_set_is_served_in_and_left_by_its_names(
    town: Town, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    town.api.dispute_found = ARBITER
    assert await town.run("wallet", "arbiter", verb, "--named", f"{ONE}, {TWO}") == Exit.DONE
    assert town.api.disputes == [(verb, {"arbiters": [ONE, TWO]})]
    assert f"serves in the named set {ONE}, {TWO}: 2 tokens of fees" in capsys.readouterr().out


async def test_what_a_set_that_was_left_still_owes_is_shown(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.dispute_found = {**ARBITER, "named_sets": [{**NAMED, "serves": False}]}
    assert await town.run("wallet", "arbiter", "show") == Exit.DONE
    assert f"has left the named set {ONE}, {TWO}: 2 tokens of fees" in capsys.readouterr().out


async def test_enrolling_says_how_much_or_with_whom_and_not_both(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ([], ["5", "--named", ONE]):
        assert await town.run("wallet", "arbiter", "enroll", *wrong) == Exit.REFUSED
        assert "with whom to serve" in capsys.readouterr().err
    assert town.api.disputes == []
    town.api.dispute_found = {**ARBITER, "named_sets": []}
    assert await town.run("wallet", "arbiter", "enroll", "5") == Exit.DONE
    ((verb, asked),) = town.api.disputes
    assert (verb, asked["amount_wei"]) == ("enroll", 5 * 10**18)
