"""The one form of a measurement."""

import json
from pathlib import Path

import pytest

import bench.report


def test_report_is_flat_and_says_where_and_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.report, "OUT", tmp_path / "out")
    path = bench.report.write("gas", {"lock_deal_total": 149_000, "wall_s": 1.23456789})
    assert path == tmp_path / "out" / "gas.json"
    report = json.loads(path.read_text())
    assert report.keys() == {"lock_deal_total", "wall_s", "machine", "when"}
    assert report["wall_s"] == 1.234568
    assert "cores" in report["machine"]


def test_counts_by_kind_are_an_object_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.report, "OUT", tmp_path)
    report = json.loads(bench.report.write("soak", {"faults": {"reorg": 3, "node_killed": 0}}).read_text())
    assert report["faults"] == {"reorg": 3, "node_killed": 0}


def test_report_refuses_a_reserved_key() -> None:
    with pytest.raises(ValueError, match="machine"):
        bench.report.write("gas", {"machine": "mine"})
