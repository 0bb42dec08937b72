"""Several nodes under one wallet: an assignment starts work on the node that sent it, and on no other."""

from dataclasses import replace

import pytest

from capanode.protocol import provider
from capanode.protocol.events import Prepared
from capanode.protocol.ids import ZERO_ADDRESS, Address
from capanode.protocol.records import Mode
from tests.protocol.deals import ASSIGNED, GRACE_S, PROVIDER, work_taken

HOT_KEY = Address(b"\x21" * 20)
OTHER_HOT_KEY = Address(b"\x22" * 20)


@pytest.mark.parametrize(
    ("me", "locked_by", "is_ours"),
    [
        (PROVIDER, ZERO_ADDRESS, True),
        (PROVIDER, HOT_KEY, False),
        (HOT_KEY, HOT_KEY, True),
        (HOT_KEY, OTHER_HOT_KEY, False),
        (HOT_KEY, ZERO_ADDRESS, False),
    ],
)
def test_only_the_node_that_assigned_executes(me: Address, locked_by: Address, is_ours: bool) -> None:
    deal = provider.step(provider.take(work_taken(Mode.FIRST)).deal, Prepared(), me, GRACE_S).deal
    bound = provider.step(deal, replace(ASSIGNED, locked_by=locked_by), me, GRACE_S)

    assert isinstance(bound.deal, provider.Executing if is_ours else provider.Lost)
