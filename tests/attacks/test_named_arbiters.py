"""Attack 29 where arbiters are named instead of drawn: a party that brings its own judges."""

from dataclasses import replace
from typing import Any

import pytest

from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import Address, Wei
from capanode.protocol.records import Demand
from capanode.scheduler.choice import choose
from capanode.scheduler.feasibility import Feasible, feasible
from capanode.scheduler.rules import Rules
from tests.scheduler.samples import DEMAND, HOST, MARKET, NOW, PROVIDER, bid, named_by

FRIENDS = tuple(Address(bytes([number]) * 20) for number in (1, 2, 3))
COURT = replace(MARKET, has_court=True, can_judge=True)


def test_attack_29_a_requester_names_its_friends_and_no_provider_works_for_them() -> None:
    wanted = named_by(*FRIENDS, quorum=2)
    assert not isinstance(feasible(wanted, HOST, Rules(), COURT, NOW), Feasible)
    one_of_them = Rules(named_arbiters=frozenset({FRIENDS[0], PROVIDER}))
    assert not isinstance(feasible(wanted, HOST, one_of_them, COURT, NOW), Feasible)
    known = Rules(named_arbiters=frozenset(FRIENDS[1:]))
    assert isinstance(feasible(wanted, HOST, known, COURT, NOW), Feasible)


def test_attack_29_a_requester_is_its_own_arbiter() -> None:
    wanted: Any = named_by(*FRIENDS, quorum=2)
    object.__setattr__(wanted, "requester", FRIENDS[0])
    with pytest.raises(BadMessage, match="its own arbiter"):
        encoding.decode(Demand, encoding.encode(wanted))


def test_attack_29_a_provider_is_its_own_arbiter() -> None:
    wanted = named_by(FRIENDS[0], Address(bytes([4]) * 20), quorum=2)
    own = bid(1, 4)
    own = replace(own, bid=replace(own.bid, demand=encoding.digest(wanted)))
    assert choose([own], wanted, DEMAND.price_cap_wei, NOW, {}).bid is None
    judged = replace(own, bid=replace(own.bid, provider=PROVIDER))
    assert choose([judged], wanted, Wei(0), NOW, {}).bid == judged
