"""Which durable steps the scenarios pass, as `make chaos-crash` has found it, for a test that runs without them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

RECORD: Final = Path(__file__).with_name("passed.json")

_RIVALS: Final = "it takes a reorganisation, a fee storm or a rival; tests/chain/test_sender_model.py dies around it"

UNREACHED: Final[Mapping[str, str]] = {
    "input.download": "it takes a server on the public internet; tests/node/test_https_input.py kills it between",
    "volume.*": "outputs are kept in memory only where the node has no root, and the scenarios need it",
    "transaction.fees-raised": _RIVALS,
    "transaction.cancelled": _RIVALS,
    "transaction.replaced": _RIVALS,
    "transaction.gap-filled": _RIVALS,
    "transaction.reorged": _RIVALS,
    "transaction.rebroadcast": _RIVALS,
}
"""Steps that no scenario passes, each with its reason. Keep it short."""


def write(passed: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Keep what was passed: by scenario, the steps of all its processes."""
    record = {
        scenario: sorted({point.rpartition(":")[0] for points in processes.values() for point in points})
        for scenario, processes in passed.items()
    }
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")


def read() -> dict[str, set[str]]:
    """Steps by scenario."""
    return {scenario: set(names) for scenario, names in json.loads(RECORD.read_text("utf-8")).items()}
