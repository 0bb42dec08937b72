"""The demo of a dispute, as far as it can be looked at without the network that it runs on."""

import json
from pathlib import Path
from typing import Any

import pytest

from capanode.contracts_abi import bindings
from capanode.node.jobfile.parse import parse
from capanode.node.units import tokens
from capanode.protocol.ids import Address, DealId, Wei
from capanode.protocol.judging import VerificationClass
from demo import outcome
from demo.court_room import Happened, sentence
from demo.dispute import BONDS, CHEATER_STAKE, JOB, PRICE_CAP, STEPS
from demo.screen import Screen

CASE, DEAL = b"\x01" * 32, DealId(b"\x02" * 32)
WATCHER, CHEATER = Address(b"\x11" * 20), Address(b"\x22" * 20)
ARBITERS = tuple(Address(bytes([number]) * 20) for number in (3, 4, 5))
KEYS = (
    "divergent_step",
    "verdict",
    "steps_reexecuted_per_arbiter",
    "gas_total",
    "cheater_delta_wei",
    "challenger_delta_wei",
    "requester_delta_wei",
    "wall_s",
)
HAPPENED = (
    bindings.Challenged(CASE, DEAL, WATCHER, 0, 12, 0, Wei(95 * 10**15), b"\x03" * 32, 7),
    bindings.AnswerShown(CASE, WATCHER, 0, b"\x04" * 32, b"\x05" * 32),
    bindings.Drawn(CASE, b"\x06" * 32, 0, 12, b"\x07" * 32, 1_000, ARBITERS),
    *(bindings.VoteCast(CASE, 0, seat) for seat in range(3)),
    *(bindings.VoteRevealed(CASE, 0, seat, 2, b"\x04" * 32) for seat in range(3)),
    bindings.Resolved(CASE, 0, 2, b"\x04" * 32, 1_100),
    bindings.DealJudged(DEAL, CHEATER, 8, Wei(0), Wei(375 * 10**15), Wei(6 * 10**17)),
    bindings.Settled(CASE, DEAL, 2, Wei(25 * 10**15), Wei(12 * 10**16), Wei(3 * 10**17)),
    bindings.CommitteePaid(CASE, 0, Wei(0)),
)
BEFORE = {"requester": 2 * 10**20, "provider-1": 10**20, "cheater": 10**20, "watcher": 10**20}
AFTER = BEFORE | {"cheater": 10**20 - 6 * 10**17, "watcher": 10**20 + 14 * 10**16}


def case() -> list[Happened]:
    """Each event in a transaction of its own, but for those of the settlement, which are in one."""
    return [Happened(one, 9, _transaction(one, at), f"0x{WATCHER.hex()}", 60_000) for at, one in enumerate(HAPPENED)]


def _transaction(event: object, number: int) -> str:
    return "settle" if isinstance(event, bindings.Settled | bindings.DealJudged) else str(number)


def figures() -> dict[str, Any]:
    return outcome.figures(case(), {name: AFTER[name] - BEFORE[name] for name in BEFORE}, [1, 1, 1], 48.6974)


def test_the_job_is_checkable_step_by_step() -> None:
    job = parse(JOB.format(data="digits.csv.gz", program="train.py", steps=STEPS, cap=tokens(PRICE_CAP)))
    assert (job.steps.limit if job.steps else 0) == STEPS == 20
    assert job.verification is VerificationClass.EXACT


def test_the_cheater_cannot_pay_for_a_second_cheat() -> None:
    assert BONDS <= CHEATER_STAKE < 2 * BONDS


def test_figures_are_those_of_the_case() -> None:
    found = figures()
    assert tuple(found) == KEYS
    assert (found["divergent_step"], found["verdict"], found["steps_reexecuted_per_arbiter"]) == (12, "OVERTURNED", 1)
    assert found["gas_total"] == (len(HAPPENED) - 1) * 60_000, "two events of one transaction count once"
    assert (found["cheater_delta_wei"], found["challenger_delta_wei"]) == (-6 * 10**17, 14 * 10**16)
    assert found["wall_s"] == 48.697


def test_figures_and_picture_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for _ in range(2):
        outcome.write(folder, figures(), "<svg/>")
    assert json.loads((folder / "dispute.json").read_text("utf-8")) == figures()
    assert (folder / "traces.svg").read_text("utf-8") == "<svg/>"
    assert ("work of an arbiter", "1 of 20 steps") in outcome.rows(folder, figures(), STEPS, "provider-1")


def test_every_event_has_a_sentence_with_the_names_of_those_who_acted(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(names={f"0x{WATCHER.hex()}": "watcher"}) as screen:
        for one in case():
            assert sentence(one) != type(one.event).__name__
            screen.step(screen.named(sentence(one)))
    shown = capsys.readouterr().out
    assert "watcher disputes step 12 with a bond of 0.095 tokens" in shown
    assert "the committee agrees on leaf 040404040404: OVERTURNED" in shown


def test_the_money_table_says_who_has_gained_and_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        screen.money(BEFORE, AFTER)
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.count("│") > 2}
    assert "-0.6" in rows["cheater"]
    assert "+0.14" in rows["watcher"]
    assert set(BEFORE) <= set(rows)
