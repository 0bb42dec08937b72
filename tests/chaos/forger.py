"""A provider that commits a leaf which no trace may have: that a step in the middle failed, and others follow it.

For tests, and on a devnet of this machine only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from capanode.node.devnet_cheater import start_disguised
from capanode.node.executed import execution
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol.ids import Cid, DealId
from tests.challenged.loose import Loose, loosely_listed, trace_of

FORGED: Final = 2
"""Position of the leaf in its trace."""


class Forgery:
    """Stands in for `leaf_list` where a provider makes its trace."""

    @staticmethod
    def listed(deal_id: DealId, leaves: Sequence[Leaf], manifests: Sequence[Cid | None]) -> Loose:
        """The list of a whole trace, with one leaf that is not what came of the job."""
        told = [replace(leaf, exit_code=1) if at == FORGED else leaf for at, leaf in enumerate(leaves)]
        return loosely_listed(deal_id, told, manifests)

    @staticmethod
    def trace_of(found: Loose) -> Trace:
        """The leaves, hashed."""
        return trace_of(found)


def main() -> None:
    """Start the node; for `start_node`."""
    vars(execution)["leaf_list"] = Forgery
    start_disguised("forger", lambda honest, _: honest)


if __name__ == "__main__":
    main()
