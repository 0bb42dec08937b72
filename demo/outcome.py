"""What the demo of a dispute leaves behind: its figures, and the picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capanode.contracts_abi import bindings
from demo.court_room import VERDICTS, Happened, found, gas_of


def figures(
    case: Sequence[Happened], changes: Mapping[str, int], redone: Sequence[int], wall_s: float
) -> dict[str, Any]:
    """A case in numbers; `changes` by party in base units, `redone` the steps that each arbiter has recomputed."""
    (challenge,) = found(case, bindings.Challenged)
    (settled,) = found(case, bindings.Settled)
    return {
        "divergent_step": challenge.step,
        "verdict": VERDICTS[settled.verdict],
        "steps_reexecuted_per_arbiter": max(redone),
        "gas_total": gas_of(case),
        "cheater_delta_wei": changes["cheater"],
        "challenger_delta_wei": changes["watcher"],
        "requester_delta_wei": changes["requester"],
        "wall_s": round(wall_s, 3),
    }


def write(folder: Path, summary: Mapping[str, Any], drawing: str) -> None:
    """Put figures and picture into a folder, which is made if it has to be."""
    folder.mkdir(exist_ok=True)
    (folder / "dispute.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    (folder / "traces.svg").write_text(drawing, "utf-8")


def rows(folder: Path, summary: Mapping[str, Any], steps: int, bought_from: str) -> list[tuple[str, str]]:
    """The same for a person, line by line."""
    return [
        ("found out", f"step {summary['divergent_step']} of {steps} gives another state"),
        ("verdict", summary["verdict"]),
        ("work of an arbiter", f"{summary['steps_reexecuted_per_arbiter']} of {steps} steps"),
        ("gas of the dispute", f"{summary['gas_total']:,}"),
        ("bought again", f"from {bought_from}"),
        ("outputs", f"{folder / 'dispute.json'}, {folder / 'traces.svg'}"),
    ]
