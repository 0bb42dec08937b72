"""From logs to events: what a contract can emit is taken in, whatever it holds."""

from dataclasses import replace

import pytest

from capanode.contracts_abi import bindings
from capanode.node.paid.settlement import abi_terms, terms_of_abi
from tests.protocol.deals import terms

HOSTILE = [
    {"mode": 4},
    {"mode": 255},
    {"price": 0},
    {"assign_by": 0},
    {"commit_by": 0},
    {"window": 0},
]


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_terms_that_no_honest_announcement_holds_are_no_terms(change: dict[str, int]) -> None:
    """`ValueError`, which the bidding task drops with the announcement."""
    with pytest.raises(ValueError, match=r"."):
        terms_of_abi(replace(abi_terms(terms()), **change))  # type: ignore[arg-type]  # by name


def test_the_largest_terms_are_terms() -> None:
    largest = replace(abi_terms(terms()), price=2**96 - 1, verification=2**96 - 1, salt=2**256 - 1, window=2**32 - 1)
    assert abi_terms(terms_of_abi(largest)) == largest
    assert isinstance(largest, bindings.Terms)
