"""Which durable steps the scenarios pass, as `make chaos-crash` has found it, for a test that runs without them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

RECORD: Final = Path(__file__).with_name("passed.json")

_RIVALS: Final = "it takes a fee storm or a rival; tests/chain/test_sender_model.py dies around it"
_UPGRADE: Final = "it takes a second version of the market; tests/chain/test_migration.py and tests/e2e/test_upgrade.py"

UNREACHED: Final[Mapping[str, str]] = {
    "approvals.add": _UPGRADE,
    "migration.*": _UPGRADE,
    "transaction.fees-raised": _RIVALS,
    "transaction.cancelled": _RIVALS,
    "transaction.replaced": _RIVALS,
    "transaction.gap-filled": _RIVALS,
    "blob.remove": "only a full store lets go of a blob, and none without being asked for room",
    "container.replace": "only a death between making and starting leaves one, and the next start sweeps it",
    "audit.secret": "a coin would make no two runs alike, so audits are off there; tests/challenged/test_audits.py",
    "checkpoint.forget": "only a sweep some minutes after a deal's end forgets its steps; tests/node/test_execution.py",
    "holder.image": "all nodes of an engine share it, and others may be at work on this one",
    "image.pull": "it takes a registry; a pull that was cut off is the engine's to resume",
    "input.download": "it takes a server on the public internet; tests/node/test_https_input.py cuts it off",
    "duties.*": "agreeing is one row, and done again by who died over it; tests/challenged/test_named_sets.py",
    "volume.*": "outputs are kept in memory only where the node has no root, and the scenarios need it",
}
"""Steps that no scenario passes, each with its reason. Keep it short."""


def write(passed: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Keep what was passed: by scenario, the steps of all its processes; other scenarios keep theirs."""
    record = {name: sorted(steps) for name, steps in read().items()} | {
        scenario: sorted({point.rpartition(":")[0] for points in processes.values() for point in points})
        for scenario, processes in passed.items()
    }
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")


def read() -> dict[str, set[str]]:
    """Steps by scenario."""
    return {scenario: set(names) for scenario, names in json.loads(RECORD.read_text("utf-8")).items()}
