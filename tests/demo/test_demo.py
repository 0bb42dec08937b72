"""`make demo`, whole: two deals by two paths, won by two providers, paid, and every receipt holds."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from capanode.protocol.faults import Unavailable
from demo.run import BONDS, OUT, STAKE, Bought, result_of
from tests.fakes.fake_node_api import job_view

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "deals_finalized",
    "paths",
    "accuracy",
    "provider_paid_wei",
    "requester_spent_wei",
    "wall_s",
    "commit_root",
    "receipt_verified",
}


def test_stake_covers_one_deal_and_not_two() -> None:
    assert BONDS <= STAKE < 2 * BONDS


@pytest.mark.parametrize(
    ("exit_code", "result_dir", "said"),
    [(None, None, "without a result: failed, nobody bid"), (124, "results/a", "exit code 124: look into results/a")],
)
def test_a_job_that_did_not_do_its_work_is_told_in_a_sentence(
    exit_code: int | None, result_dir: str | None, said: str
) -> None:
    view = replace(job_view(state="failed"), reason="nobody bid", exit_code=exit_code, result_dir=result_dir)
    with pytest.raises(Unavailable, match=said):
        result_of(Bought("gossip", view, (), ""))


@pytest.mark.timeout(420)
def test_demo_goes_the_whole_way() -> None:
    done = subprocess.run([sys.executable, "-m", "demo.run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((OUT / "summary.json").read_text("utf-8"))
    assert set(summary) >= KEYS
    assert summary["deals_finalized"] == 2
    assert sorted(summary["paths"]) == ["chain", "gossip"]
    assert len(summary["providers"]) == 2
    assert summary["accuracy"] >= 0.97
    assert summary["provider_paid_wei"] == summary["requester_spent_wei"] > 0
    assert summary["receipt_verified"] is True
    assert {path.name for path in OUT.iterdir()} >= {"model.npz", "metrics.json", "learning_curve.png", "receipts"}
    for event in ("JobSubmitted", "BidsClosed", "DealAssigned", "DealCommitted", "ResultFetched", "DealFinalized"):
        assert event in done.stdout
    for receipt in sorted((OUT / "receipts").iterdir()):
        command = [sys.executable, "-m", "capanode.node", "receipt", "verify", str(receipt)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
