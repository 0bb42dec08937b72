"""Which bid a requester awards.

Bids rank by price; a better score, then an earlier start, then the addresses decide between equal prices, so that
every node would choose alike from the same bids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from capanode.protocol import encoding
from capanode.protocol.ids import Address, Ppm, UnixTime, Wei
from capanode.protocol.records import Demand, SignedBid
from capanode.scheduler.hardware import serves
from capanode.scheduler.refusal import Kind, Refusal

ANY_SCORE: Final = Ppm(0)
UNKNOWN_SCORE: Final = Ppm(500_000)
"""Whom we have not dealt with stands in the middle."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best bid, whether it ends the bid window, and for every other bid the reason against it."""

    bid: SignedBid | None
    on_target: bool
    rejected: tuple[tuple[SignedBid, Refusal], ...]


def choose(
    bids: Sequence[SignedBid],
    demand: Demand,
    target_wei: Wei,
    now: UnixTime,
    scores: Mapping[Address, Ppm],
    *,
    least_score: Ppm = ANY_SCORE,
) -> Choice:
    """The bid to award, out of bids whose signatures were checked; does not depend on their order.

    Args:
        target_wei: the first acceptable bid at or below it ends the window.
        scores: what this requester thinks of providers, in parts per million.
        least_score: below it a provider is not awarded.
    """
    wanted = encoding.digest(demand)
    acceptable: list[SignedBid] = []
    rejected: list[tuple[SignedBid, Refusal]] = []
    for bid in bids:
        if bid.bid.demand != wanted:
            rejected.append((bid, Refusal(Kind.ANOTHER, "the bid is for another demand")))
            continue
        refusal = _refusal(bid, demand, now, scores, least_score)
        if refusal is None:
            acceptable.append(bid)
        else:
            rejected.append((bid, refusal))
    acceptable.sort(key=lambda bid: _rank(bid, scores))
    if not acceptable:
        return Choice(None, on_target=False, rejected=tuple(rejected))
    best, *others = acceptable
    rejected.extend((bid, _outbid(bid, best)) for bid in others)
    return Choice(best, best.bid.price_wei <= target_wei, tuple(rejected))


def _rank(signed: SignedBid, scores: Mapping[Address, Ppm]) -> tuple[int, int, int, bytes, bytes]:
    bid = signed.bid
    # The digest last, so that two bids of one provider have an order too.
    return (
        bid.price_wei,
        -_score(bid.provider, scores),
        bid.ready_in_s,
        bid.provider,
        encoding.digest(signed),
    )


def _refusal(
    signed: SignedBid, demand: Demand, now: UnixTime, scores: Mapping[Address, Ppm], least_score: Ppm
) -> Refusal | None:
    bid = signed.bid
    if bid.expires_at <= now:
        return Refusal(Kind.EXPIRED, "the bid has expired", "the provider has to bid again")
    if bid.price_wei > demand.price_cap_wei:
        return Refusal(Kind.PRICE, f"it asks {bid.price_wei}, the cap is {demand.price_cap_wei}", "raise the price cap")
    if demand.arbiters is not None and bid.provider in demand.arbiters:
        return Refusal(
            Kind.VERIFICATION, "it is one of the arbiters that the job names", "name others, or let others bid"
        )
    if not serves(bid.hardware_class, demand.hardware_class, demand.verification):
        sentence = f"its hardware is {bid.hardware_class}, the job needs {demand.hardware_class}"
        return Refusal(Kind.HARDWARE_CLASS, sentence, "ask for another class, or none")
    if bid.ready_in_s + demand.resources.timeout_s > demand.commit_within_s:
        sentence = f"it would start in {bid.ready_in_s} s, too late for the deadline"
        return Refusal(Kind.TIME, sentence, "give the job a later deadline")
    if _score(bid.provider, scores) < least_score:
        return Refusal(Kind.REPUTATION, "the provider's record is too bad", "lower the least score")
    return None


def _outbid(signed: SignedBid, best: SignedBid) -> Refusal:
    if signed.bid.price_wei > best.bid.price_wei:
        return Refusal(Kind.OUTBID, f"it asks {signed.bid.price_wei}, another {best.bid.price_wei}")
    return Refusal(Kind.OUTBID, "another with the same price has a better record or starts earlier")


def _score(provider: Address, scores: Mapping[Address, Ppm]) -> Ppm:
    return scores.get(provider, UNKNOWN_SCORE)
