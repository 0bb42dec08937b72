"""The terms of a deal out of the transaction that bound it, whatever carried it there.

The market keeps a hash only. The eleven words of the terms stand in one piece in every call that binds a deal, alone,
in a multicall or in a contract wallet's transaction; the deal's id says which piece they are.
"""

from dataclasses import replace
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.paid.settlement import terms_of_abi
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, DemandDigest
from capanode.protocol.records import Mode, Terms
from capanode.protocol.typed_data import Domain, announcement_deal_id, award_digest

WORD: Final = 32
WORDS: Final = 11
MAX_PIECES: Final = 4096
"""Places in one calldata that begin as the terms would; honest ones have a handful."""


def find_terms(data: bytes, at: Domain, deal_id: DealId, requester: Address) -> Terms | None:
    """The terms as their requester signed or announced them; None when they are not in the calldata."""
    mark = bytes(12) + requester
    place = data.find(mark)
    for _ in range(MAX_PIECES):
        if place < 0 or place + WORDS * WORD > len(data):
            return None
        terms = _read(data[place : place + WORDS * WORD])
        if terms is not None and _id_of(at, terms) == deal_id:
            return terms
        place = data.find(mark, place + 1)
    return None


def _read(piece: bytes) -> Terms | None:
    words = [int.from_bytes(piece[n * WORD : (n + 1) * WORD], "big") for n in range(WORDS)]
    try:
        return terms_of_abi(
            bindings.Terms(
                requester=_address(words[0]),
                provider=_address(words[1]),
                demand_digest=DemandDigest(piece[2 * WORD : 3 * WORD]),
                price=words[3],
                verification=words[4],
                fraud_bond=words[5],
                assign_by=words[6],
                commit_by=words[7],
                window=words[8],
                mode=words[9],
                salt=words[10],
            )
        )
    except (ValueError, OverflowError):
        return None


def _address(word: int) -> Address:
    return Address(word.to_bytes(20, "big"))


def _id_of(at: Domain, terms: Terms) -> DealId:
    if terms.mode in (Mode.AWARD, Mode.FIRST):
        return announcement_deal_id(at, replace(terms, provider=ZERO_ADDRESS))
    return DealId(award_digest(at, terms))
