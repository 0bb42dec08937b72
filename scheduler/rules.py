"""The operator's rules: from whom, what, how large, when, and for how much this node takes work.

An empty allow list allows everybody; a deny list always wins. Images are named by a prefix of their reference
(`ghcr.io/acme/`) or by their digest (`sha256:…`).
"""

from dataclasses import dataclass
from typing import Final

from capanode.protocol.ids import UINT96_MAX, Address, UnixTime, Wei
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import MAX_TIMEOUT_S, Demand, Image, VerificationClass
from capanode.scheduler.refusal import Kind, Refusal

ALL_HOURS: Final = frozenset(range(24))
_NOTHING: Final = Wei(0)
_UNLIMITED: Final = Wei(UINT96_MAX)
_OPERATOR: Final = "the operator can change this rule"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator accepts; the defaults accept every job that fits the machine.

    `hours` are those of the operator's clock in which work may start. `max_exposure_wei` bounds the prices of all
    deals that are not paid yet, together. A demand that names its arbiters has to name a quorum of `named_arbiters`: a
    set that the requester chose alone could rob this node. Amounts in base units of the token.
    """

    requesters_allowed: frozenset[Address] = frozenset()
    requesters_denied: frozenset[Address] = frozenset()
    images_allowed: tuple[str, ...] = ()
    images_denied: tuple[str, ...] = ()
    classes: frozenset[VerificationClass] = frozenset(VerificationClass)
    hours: frozenset[int] = ALL_HOURS
    max_timeout_s: int = MAX_TIMEOUT_S
    max_retention_s: int = 30 * 86_400
    max_image_bytes: int = 2**44
    max_input_bytes: int = 2**50
    reserved_cpu_millis: int = 0
    reserved_memory_bytes: int = 0
    min_price_wei: Wei = _NOTHING
    max_fraud_bond_wei: Wei = _UNLIMITED
    max_exposure_wei: Wei = _UNLIMITED
    named_arbiters: frozenset[Address] = frozenset()

    def __post_init__(self) -> None:
        if not self.hours <= ALL_HOURS:
            raise ValueError("an hour of the day is from 0 to 23")


def against_demand(rules: Rules, demand: Demand, now: UnixTime, utc_offset_s: int) -> tuple[Refusal, ...]:
    """Every rule that a demand breaks, prices aside."""
    hour = (now + utc_offset_s) // 3600 % 24
    broken = [
        (not _is_welcome(rules, demand.requester), Kind.REQUESTER, "this node does not work for this requester"),
        (
            demand.verification not in rules.classes,
            Kind.VERIFICATION,
            f"this node takes no jobs of the class {demand.verification}",
        ),
        (
            (named := demand.named) is not None and not named.is_backed_by(rules.named_arbiters),
            Kind.VERIFICATION,
            _untrusted(named, rules.named_arbiters),
        ),
        (hour not in rules.hours, Kind.HOURS, f"this node takes no work between {hour}:00 and {hour}:59"),
        (
            demand.resources.timeout_s > rules.max_timeout_s,
            Kind.TIME,
            f"the job may run {demand.resources.timeout_s} s, this node allows {rules.max_timeout_s} s",
        ),
        (
            demand.retention_s > rules.max_retention_s,
            Kind.TIME,
            f"the result is to be kept {demand.retention_s} s, this node allows {rules.max_retention_s} s",
        ),
        (
            demand.image_bytes > rules.max_image_bytes,
            Kind.SIZE,
            f"the image has {demand.image_bytes} bytes, this node allows {rules.max_image_bytes}",
        ),
        (
            demand.input_bytes > rules.max_input_bytes,
            Kind.SIZE,
            f"the inputs have {demand.input_bytes} bytes, this node allows {rules.max_input_bytes}",
        ),
        (
            demand.price_cap_wei < rules.min_price_wei,
            Kind.PRICE,
            f"the price cap of {demand.price_cap_wei} is below this node's least price {rules.min_price_wei}",
        ),
    ]
    return tuple(Refusal(kind, sentence, _OPERATOR) for is_broken, kind, sentence in broken if is_broken)


def _untrusted(named: NamedSet | None, trusted: frozenset[Address]) -> str:
    if named is None:
        return ""
    return (
        f"of the arbiters that the demand names, {named.quorum} decide, and this node knows {named.trusted_in(trusted)}"
    )


def against_image(rules: Rules, image: Image) -> tuple[Refusal, ...]:
    """The rule that an image breaks; it is known only once the spec is here."""
    names = _names(image)
    if any(_is_named(pattern, names) for pattern in rules.images_denied):
        return (Refusal(Kind.IMAGE, f"this node refuses the image {names[0]}", _OPERATOR),)
    if rules.images_allowed and not any(_is_named(pattern, names) for pattern in rules.images_allowed):
        return (Refusal(Kind.IMAGE, f"the image {names[0]} is not on this node's list", _OPERATOR),)
    return ()


def against_price(rules: Rules, price_wei: Wei, fraud_bond_wei: Wei, exposure_wei: Wei) -> tuple[Refusal, ...]:
    """Every rule that a price breaks; `exposure_wei` is what open deals already owe this node."""
    broken = [
        (
            price_wei < rules.min_price_wei,
            Kind.PRICE,
            f"the price {price_wei} is below this node's least price {rules.min_price_wei}",
        ),
        (
            fraud_bond_wei > rules.max_fraud_bond_wei,
            Kind.BOND,
            f"the fraud bond {fraud_bond_wei} is above this node's limit {rules.max_fraud_bond_wei}",
        ),
        (
            exposure_wei + price_wei > rules.max_exposure_wei,
            Kind.EXPOSURE,
            f"with {exposure_wei} unpaid, the price {price_wei} would pass the limit {rules.max_exposure_wei}",
        ),
    ]
    return tuple(Refusal(kind, sentence, _OPERATOR) for is_broken, kind, sentence in broken if is_broken)


def _is_welcome(rules: Rules, requester: Address) -> bool:
    if requester in rules.requesters_denied:
        return False
    return not rules.requesters_allowed or requester in rules.requesters_allowed


def _names(image: Image) -> tuple[str, ...]:
    """What a rule may call an image: its reference, and the digest it is pinned by."""
    if image.registry is not None:
        return image.registry.reference, image.registry.reference.rpartition("@")[2]
    assert image.archive is not None
    return (f"sha256:{image.archive.image_id.hex()}",)


def _is_named(pattern: str, names: tuple[str, ...]) -> bool:
    if pattern.startswith("sha256:"):
        return pattern in names
    return names[0].startswith(pattern)
