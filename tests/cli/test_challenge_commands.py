"""`capanode challenge check` against a node."""

import json

import pytest

from capanode.node.api.port import Json
from capanode.node.cli.exits import Exit
from tests.cli.conftest import Town
from tests.fakes.fake_node_api import CHECK, TOKEN

DEAL = "0x" + "0d" * 32
DIFFERS: Json = {
    **CHECK,
    "verdict": "differs",
    "divergent_step": 0,
    "checked": [
        {
            "step": 0,
            "verdict": "differs",
            "committed_leaf": "0x" + "10" * 32,
            "computed_leaf": "0x" + "11" * 32,
            "reasons": ["the exit code 0 was committed, 1 came out"],
            "files": [{"path": "model\x1b[2J.npz", "reason": "its bytes are not the same"}] * 30,
        }
    ],
}


async def test_a_result_that_holds(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("challenge", "check", DEAL) == Exit.DONE
    assert town.api.checks == [(DEAL, None, None)]
    told = capsys.readouterr()
    assert "the result holds" in told.out
    assert "recomputing step 0 (1 of 1)" in told.err


async def test_what_differs_is_shown_and_what_a_challenge_would_bring(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    town.api.check_found = DIFFERS
    assert await town.run("challenge", "check", DEAL) == Exit.UNVERIFIED
    told = capsys.readouterr().out
    assert "step 0 does not hold" in told
    assert "the exit code 0 was committed, 1 came out" in told
    assert "and 10 more" in told
    assert "\x1b" not in told
    assert "locks 0.05 tokens" in told
    assert "a share of 1 tokens" in told


async def test_a_deal_that_cannot_be_challenged_says_why(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.check_found = {
        **DIFFERS,
        "challenge": {**CHECK["challenge"], "is_possible": False, "why_not": "its window is over"},
    }
    assert await town.run("challenge", "check", DEAL) == Exit.UNVERIFIED
    assert "it cannot be challenged: its window is over" in capsys.readouterr().out


async def test_what_cannot_be_said_is_no_accusation(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    step = {**CHECK["checked"][0], "verdict": "unclear", "reasons": ["the exit code 0 was committed, 124 came out"]}
    town.api.check_found = {**CHECK, "verdict": "unclear", "checked": [step]}
    assert await town.run("challenge", "check", DEAL) == Exit.UNAVAILABLE
    told = capsys.readouterr().out
    assert "nothing can be said" in told
    assert "challenge locks" not in told


async def test_withheld_leaves_are_said_and_can_be_forced(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.check_found = {**CHECK, "verdict": "withheld", "reason": "the leaves are withheld", "checked": []}
    assert await town.run("challenge", "check", DEAL) == Exit.UNVERIFIED
    told = capsys.readouterr().out
    assert "the leaves are withheld" in told
    assert "challenge open DEAL --leaves" in told
    town.api.dispute_found = {"challenge": {"name": "challenge-1", "reason": "the leaves are withheld"}}
    assert await town.run("challenge", "open", DEAL, "--leaves") == Exit.DONE
    assert town.api.disputes == [("open", {"deal": DEAL, "leaves": True})]


@pytest.mark.parametrize(
    ("grounds", "asked"),
    [(("--step", "3"), {"step": 3}), (("--missing", "0"), {"data": 0}), (("--spec", "2"), {"spec": 2})],
)
async def test_each_ground_has_its_name(town: Town, grounds: tuple[str, ...], asked: Json) -> None:
    town.api.dispute_found = {"challenge": {"name": "challenge-1", "reason": "so it is"}}
    assert await town.run("challenge", "open", DEAL, *grounds) == Exit.DONE
    assert town.api.disputes == [("open", {"deal": DEAL, **asked})]


async def test_a_leaf_that_speaks_against_itself_is_named(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"verdict": "forbidden", "reason": "its step was the last one", "position": 7, "checked": []}
    town.api.check_found = {**CHECK, **said}
    assert await town.run("challenge", "check", DEAL) == Exit.UNVERIFIED
    assert "challenge open DEAL --spec 7" in capsys.readouterr().out


@pytest.mark.parametrize("grounds", [(), ("--step", "1", "--leaves")])
async def test_a_challenge_is_about_one_thing(town: Town, grounds: tuple[str, ...]) -> None:
    assert await town.run("challenge", "open", DEAL, *grounds) == Exit.REFUSED
    assert not town.api.disputes


@pytest.mark.parametrize(
    ("options", "asked"),
    [((), (DEAL, None, None)), (("--step", "3"), (DEAL, 3, None)), (("--sample", "5"), (DEAL, None, 5))],
)
async def test_steps_can_be_chosen(
    town: Town, options: tuple[str, ...], asked: tuple[str, int | None, int | None]
) -> None:
    assert await town.run("challenge", "check", DEAL, *options) == Exit.DONE
    assert town.api.checks == [asked]


async def test_json_is_the_whole_check(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.check_found = DIFFERS
    assert await town.run("challenge", "check", DEAL, "--json") == Exit.UNVERIFIED
    told = capsys.readouterr()
    assert json.loads(told.out) == DIFFERS
    assert not told.err
    assert json.loads(told.out)["challenge"]["bond_wei"] == TOKEN // 20


async def test_a_refusal_is_its_sentence(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.refusal = "no market of this network knows a deal 0x0d"
    assert await town.run("challenge", "check", DEAL) == Exit.REFUSED
    assert "no market of this network" in capsys.readouterr().err
