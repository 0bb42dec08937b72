"""Named sets as endpoints tell of them: bounded, and none that no court can have said."""

from dataclasses import replace
from itertools import count

import pytest

from capanode.contracts_abi import bindings
from capanode.node.chain.registered_sets import MOST_KEPT, Registered
from capanode.node.chain.wire import BadReply
from capanode.protocol.ids import Address
from capanode.protocol.judging import named_pool
from capanode.protocol.named_set import NamedSet
from tests.node.market_place import FakeMarket, version_of

MARKET = version_of(FakeMarket())
FRIENDS = tuple(Address(bytes([number]) * 20) for number in (1, 2, 3))


def trusts(named: NamedSet) -> bool:
    return named.is_backed_by(FRIENDS[:2])


def event(*arbiters: Address) -> bindings.SetNamed:
    return bindings.SetNamed(named_pool(arbiters), arbiters)


def test_what_is_trusted_is_not_pushed_out_by_what_anybody_has_named() -> None:
    found, numbers = Registered(), count(2**159)
    found.add(MARKET, event(*FRIENDS), trusts)
    for _ in range(2 * MOST_KEPT):
        found.add(MARKET, event(FRIENDS[0], Address(next(numbers).to_bytes(20, "big"))), trusts)
    assert found.count == 2 * MOST_KEPT + 1
    assert [one.named for one in found.trusted] == [NamedSet(FRIENDS, 2)]
    assert len(found.others) == MOST_KEPT


@pytest.mark.parametrize(
    "told",
    [
        event(),
        event(*FRIENDS[::-1]),
        event(FRIENDS[0], FRIENDS[0]),
        event(*(Address(at.to_bytes(20, "big")) for at in range(1, 17))),
        replace(event(*FRIENDS), pool=named_pool(FRIENDS[:2])),
    ],
    ids=["nobody", "out of order", "twice", "sixteen", "another one's name"],
)
def test_what_no_court_says_is_the_endpoints_fault(told: bindings.SetNamed) -> None:
    found = Registered()
    with pytest.raises(BadReply, match="check the endpoint"):
        found.add(MARKET, told, trusts)
    assert found.count == 0
