"""EIP-712 digests of everything that a key signs, as fixed layouts.

Pure and some ten times cheaper than the general encoder; golden vectors in `tests/vectors` hold both, and the
contracts, to the same bytes.

**Source**: EIP-712; docs/protocol.md §2.
"""

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from capanode.protocol import encoding
from capanode.protocol.ids import (
    ZERO_ADDRESS,
    Address,
    DealId,
    DemandDigest,
    Digest,
    SpecDigest,
    UnixTime,
    Wei,
)
from capanode.protocol.judging import steps_word
from capanode.protocol.records import Bid, Demand, Offer, Spec, Terms

_TERMS_FIELDS: Final = (
    "address requester,address provider,bytes32 demandDigest,uint96 price,uint96 verification,"
    "uint96 fraudBond,uint40 assignBy,uint40 commitBy,uint32 window,uint8 mode,uint256 salt"
)
AWARD_TYPE: Final = f"Award({_TERMS_FIELDS})"
ANNOUNCEMENT_TYPE: Final = f"Announcement({_TERMS_FIELDS})"
ACCEPT_TYPE: Final = "Accept(bytes32 dealId)"
CANCEL_MUTUAL_TYPE: Final = "CancelMutual(bytes32 dealId,uint96 amount,uint40 validUntil)"
DEMAND_TYPE: Final = "Demand(address requester,bytes32 recordDigest,uint40 expiresAt)"
OFFER_TYPE: Final = "Offer(address provider,bytes32 recordDigest,uint40 expiresAt)"
BID_TYPE: Final = "Bid(address provider,bytes32 recordDigest,uint40 expiresAt)"
RECEIPT_TYPE: Final = "Receipt(address provider,bytes32 recordDigest)"
PEER_BINDING_TYPE: Final = "PeerBinding(address owner)"
DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


def _type_hash(text: str) -> bytes:
    return keccak(text.encode())


_AWARD = _type_hash(AWARD_TYPE)
_ANNOUNCEMENT = _type_hash(ANNOUNCEMENT_TYPE)
_ACCEPT = _type_hash(ACCEPT_TYPE)
_CANCEL_MUTUAL = _type_hash(CANCEL_MUTUAL_TYPE)
_DEMAND = _type_hash(DEMAND_TYPE)
_OFFER = _type_hash(OFFER_TYPE)
_BID = _type_hash(BID_TYPE)
_RECEIPT = _type_hash(RECEIPT_TYPE)
_PEER_BINDING = _type_hash(PEER_BINDING_TYPE)
_DOMAIN = _type_hash(DOMAIN_TYPE) + keccak(b"capanode") + keccak(b"1")


@dataclass(frozen=True, slots=True)
class Domain:
    """What a signature is bound to: one contract on one chain, as its 32-byte EIP-712 separator."""

    separator: bytes


def domain(chain_id: int, verifying_contract: Address) -> Domain:
    """The domain of a deal market, or of a provider registry."""
    return Domain(keccak(_DOMAIN + _uint(chain_id) + _address(verifying_contract)))


def award_digest(at: Domain, terms: Terms) -> Digest:
    """What the requester signs; for DIRECT and LOCK it is also the deal id."""
    return _typed(at, _AWARD + encoded_terms(terms))


def announcement_deal_id(at: Domain, terms: Terms) -> DealId:
    """The deal id of an announced demand; `terms.provider` must be zero."""
    if terms.provider != ZERO_ADDRESS:
        raise ValueError("an announcement names no provider")
    return DealId(_typed(at, _ANNOUNCEMENT + encoded_terms(terms)))


def accept_digest(at: Domain, deal_id: DealId) -> Digest:
    """What the requester signs to finalize at once."""
    return _typed(at, _ACCEPT + deal_id)


def cancel_mutual_digest(at: Domain, deal_id: DealId, amount_wei: Wei, valid_until: UnixTime) -> Digest:
    """What both sides sign to end an assigned deal, with `amount_wei` for the provider."""
    return _typed(at, _CANCEL_MUTUAL + deal_id + _uint(amount_wei) + _uint(valid_until))


def demand_hint_digest(at: Domain, demand: Demand) -> Digest:
    """What the requester signs so that a demand may be spread."""
    record = encoding.digest(demand)
    return _typed(at, _DEMAND + _address(demand.requester) + record + _uint(demand.expires_at))


def offer_digest(at: Domain, offer: Offer) -> Digest:
    """What the provider's wallet or hot key signs under a standing offer."""
    return _typed(at, _OFFER + _address(offer.provider) + encoding.digest(offer) + _uint(offer.expires_at))


def bid_digest(at: Domain, bid: Bid) -> Digest:
    """What the provider's wallet or hot key signs under a bid."""
    return _typed(at, _BID + _address(bid.provider) + encoding.digest(bid) + _uint(bid.expires_at))


def receipt_digest(at: Domain, provider: Address, record: Digest) -> Digest:
    """What the provider's wallet or hot key signs under the record of an execution."""
    return _typed(at, _RECEIPT + _address(provider) + record)


def peer_binding_digest(registry: Domain, owner: Address) -> Digest:
    """What a peer key signs to say which wallet it works for."""
    return _typed(registry, _PEER_BINDING + _address(owner))


def spec_digest(spec: Spec) -> SpecDigest:
    """The name of a spec: sha256 of its canonical encoding."""
    return SpecDigest(encoding.digest(spec))


def demand_digest(spec: SpecDigest, input_root: Digest, steps: int) -> DemandDigest:
    """What a deal is about, as its terms bind it: keccak256(specDigest ‖ inputRoot ‖ steps).

    `steps` is `capanode.protocol.judging.steps_word`.
    """
    return DemandDigest(keccak(spec + input_root + _uint(steps)))


def digest_of_demand(demand: Demand) -> DemandDigest:
    """What a deal made of this demand is about."""
    steps = steps_word(demand.rules, demand.first_step, demand.step_limit)
    return demand_digest(demand.spec, demand.input_root, steps)


def _typed(at: Domain, encoded: bytes) -> Digest:
    return Digest(keccak(b"\x19\x01" + at.separator + keccak(encoded)))


def encoded_terms(terms: Terms) -> bytes:
    """The eleven words of the terms, as a struct hash and a deal's slot are over them."""
    return b"".join(
        (
            _address(terms.requester),
            _address(terms.provider),
            terms.demand_digest,
            _uint(terms.price_wei),
            _uint(terms.verification_wei),
            _uint(terms.fraud_bond_wei),
            _uint(terms.assign_by),
            _uint(terms.commit_by),
            _uint(terms.window_s),
            _uint(terms.mode),
            terms.salt,
        )
    )


def _uint(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(address: Address) -> bytes:
    return bytes(12) + address
