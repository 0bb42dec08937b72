"""What an award binds: its deal id, what was signed, and the announcement behind it.

**Source**: docs/protocol.md §2, "Terms" and "Deal id".
"""

from dataclasses import replace

from capanode.protocol.ids import ZERO_ADDRESS, DealId, Digest, Wei
from capanode.protocol.records import Mode, SignedAward, Terms
from capanode.protocol.typed_data import Domain, announcement_deal_id, award_digest


def announced_terms(terms: Terms, cap_wei: Wei) -> Terms:
    """The announcement that these bound terms came from: no provider, and the cap as the price."""
    return replace(terms, provider=ZERO_ADDRESS, price_wei=cap_wei)


def deal_id(at: Domain, award: SignedAward, cap_wei: Wei) -> DealId:
    """The deal that the award is for, recomputed from its terms; `cap_wei` matters for announced demands only."""
    if award.terms.mode in (Mode.AWARD, Mode.FIRST):
        return announcement_deal_id(at, announced_terms(award.terms, cap_wei))
    return DealId(award_digest(at, award.terms))


def signed_digest(at: Domain, terms: Terms, announced: DealId | None) -> Digest:
    """What the requester signs: the terms, with the announced deal's id in place of the salt."""
    if announced is None:
        return award_digest(at, terms)
    return award_digest(at, replace(terms, salt=Digest(announced)))
