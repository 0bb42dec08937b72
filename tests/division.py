"""How a run is divided among processes: what shares something stays together, and what takes longest comes first.

A part is done by one process, in its order. It is one file, unless it stands here.
"""

from typing import Final

_GATE: Final = "tests/tooling/test_gates.py::test_make_target_passes"
_OPERATION: Final = "tests/e2e/test_operations.py::test_"

FIRST: Final = (
    # What the Solidity compiler makes is most of their time, and they share it: the first asks it for the most.
    (f"{_GATE}[slither]", f"{_GATE}[contracts-test]", "tests/contracts/test_generated.py"),
    # They share a town, which takes longer to come up than most of them take.
    (
        "tests/e2e/test_killed.py",
        "tests/e2e/test_steps.py",
        "tests/e2e/test_bad_endings.py",
        "tests/e2e/test_ways_to_a_deal.py",
        "tests/e2e/test_challenge_check.py",
        f"{_OPERATION}a_node_that_is_stopped_in_order",
    ),
    (f"{_GATE}[types]",),
    ("tests/e2e/test_dispute.py",),
    ("tests/faults/test_engine.py::test_what_someone_does",),
    ("tests/faults/test_engine.py::test_an_engine_that_is_killed",),
    ("tests/devnet/test_devnet.py",),
    ("tests/cli/test_start_faults.py",),
    ("tests/faults/test_frozen.py",),
    ("tests/chain/test_reorgs.py",),
    ("tests/chaos/test_bad_weather.py",),
    ("tests/chaos/test_court_reorgs.py",),
    ("tests/chaos/test_crash_sample.py",),
    ("tests/e2e/test_taken_back.py",),
    ("tests/e2e/test_replicated.py",),
    ("tests/e2e/test_upgrade.py",),
    ("tests/demo/test_demo.py",),
    ("tests/challenged/test_appeals.py",),
    ("tests/faults/test_disk.py",),
    (f"{_OPERATION}a_draining_node",),
    (f"{_OPERATION}lost_machines",),
    (f"{_OPERATION}a_requester_that_was_away",),
    ("tests/e2e/test_nobody.py",),
    (f"{_GATE}[symbolic]",),
    (f"{_GATE}[lint]",),
    # Each looks that nothing of its own kind is left in the engine.
    ("tests/cli/test_run_local.py", "tests/cli/test_determinism.py"),
    ("tests/devnet",),
    ("tests/demo",),
    ("tests/faults",),
    ("tests/chaos",),
    ("tests/cli",),
    ("tests/p2p",),
    ("tests/tooling",),
)
"""The beginnings of test ids, a line for each part, from the longest part on; of a folder, each file is a part."""


def place(test: str) -> tuple[int, int]:
    """Where a test stands in the order of a run."""
    return next(
        ((line, begin) for line, part in enumerate(FIRST) for begin, name in enumerate(part) if test.startswith(name)),
        (len(FIRST), 0),
    )


def part(test: str) -> str:
    """The part that a test belongs to."""
    line, _ = place(test)
    if line < len(FIRST) and ".py" in FIRST[line][0]:
        return FIRST[line][0]
    return test.split("::", 1)[0]
