"""Status fits a screen, whatever there is to tell."""

from dataclasses import replace

from capanode.node.api.port import DealView
from capanode.node.cli.overview import MAX_ALERTS, MAX_DEALS, lines, open_deals
from capanode.node.units import clock_time
from tests.fakes.fake_node_api import TOKEN

DEAL = DealView("0x" + "11" * 32, "Executing", "0x" + "22" * 20, TOKEN, "LOCK", 1_800_000_000.0, "", None)


def test_a_quiet_node_adds_nothing() -> None:
    assert list(lines({"wallet": {"locked_wei": 0, "transactions": []}, "alerts": []}, [])) == []
    assert list(lines({}, [replace(DEAL, phase="Done"), replace(DEAL, phase="Lost")])) == []


def test_what_matters_is_said() -> None:
    waiting = {"key": "ab/commit", "nonce": 7, "state": "sent"}
    alert = {"kind": "gas-low", "sentence": "send it coins", "at": 1_800_000_000.0}
    answer = {"wallet": {"locked_wei": 3 * TOKEN, "transactions": [waiting]}, "alerts": [alert]}
    deals = [DEAL, replace(DEAL, phase="Committed", window_ends_at=1_800_000_100), replace(DEAL, phase="Done")]
    told = "\n".join(lines(answer, deals))
    assert "3 tokens of the stake are locked" in told
    assert "open deals: 1 Executing, 1 Committed" in told
    assert f"window until {clock_time(1_800_000_100)}" in told
    assert "ab/commit, nonce 7, sent" in told
    assert f"{clock_time(1_800_000_000.0)}  gas-low: send it coins" in told


def test_it_stays_one_screen() -> None:
    alert = {"kind": "deal-lost", "sentence": "gone", "at": 1.0}
    told = list(lines({"alerts": [alert] * 32}, [DEAL] * 500))
    assert len(told) == MAX_DEALS + MAX_ALERTS + 3
    assert len(open_deals([DEAL] * 500)) == 500
