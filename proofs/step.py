"""When a checkpointed job ends: a rule over what its last step left, so that everybody who recomputes it agrees.

**Source**: docs/protocol.md §3, "Steps".
"""

from collections.abc import Iterable
from typing import Final

from capanode.proofs.tree import Entry, EntryType

DONE_FILE: Final = ".capanode-done"
"""A regular file of this name at the top of the state says that there is nothing left to do."""

STEP_VARIABLE: Final = "CAPANODE_STEP"
STEPS_VARIABLE: Final = "CAPANODE_STEPS"
RESERVED_VARIABLES: Final = frozenset({STEP_VARIABLE, STEPS_VARIABLE})
"""Environment variables in which a step finds its number, from zero, and the number of all steps."""


def is_last(state: Iterable[Entry], exit_code: int, index: int, end: int) -> bool:
    """Whether nothing follows step `index` of a trace that ends before `end`, given what it left and how it ended."""
    if exit_code != 0 or index + 1 >= end:
        return True
    return any(entry.path == DONE_FILE and entry.type is EntryType.FILE for entry in state)
