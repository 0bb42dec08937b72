from dataclasses import replace
from typing import Any

import pytest

from capanode.protocol.ids import Address, Cid, Digest, UnixTime, Wei
from capanode.protocol.records import ArchiveImage, Image, RegistryImage, VerificationClass
from capanode.scheduler import rules as operator
from capanode.scheduler.refusal import Kind
from capanode.scheduler.rules import Rules
from tests.scheduler.samples import DEMAND, NOW, demand, resources

RULES = Rules()
DIGEST = "sha256:" + "ab" * 32
REGISTRY = Image(RegistryImage(f"ghcr.io/acme/train@{DIGEST}"), None)
ARCHIVE = Image(None, ArchiveImage(Cid("b" + "a" * 58), Digest(bytes.fromhex("cd" * 32)), 1))
REQUESTER = DEMAND.requester
STRANGER = Address(b"z" * 20)


def kinds(rules: Rules, **changes: Any) -> list[Kind]:
    return [refusal.kind for refusal in operator.against_demand(rules, demand(**changes), NOW, 0)]


def test_the_defaults_accept_everything() -> None:
    assert kinds(RULES) == []
    assert operator.against_image(RULES, REGISTRY) == ()
    assert operator.against_price(RULES, Wei(2**95), Wei(2**95), Wei(0)) == ()


@pytest.mark.parametrize(
    ("allowed", "denied", "welcome"),
    [
        ([], [], True),
        ([REQUESTER], [], True),
        ([STRANGER], [], False),
        ([], [REQUESTER], False),
        ([], [STRANGER], True),
        ([REQUESTER], [REQUESTER], False),
    ],
)
def test_requesters_are_allowed_or_denied(allowed: list[Address], denied: list[Address], welcome: bool) -> None:
    rules = Rules(requesters_allowed=frozenset(allowed), requesters_denied=frozenset(denied))
    assert kinds(rules) == ([] if welcome else [Kind.REQUESTER])


@pytest.mark.parametrize(
    ("allowed", "denied", "registry", "archive"),
    [
        ((), (), True, True),
        (("ghcr.io/acme/",), (), True, False),
        (("ghcr.io/other/",), (), False, False),
        ((DIGEST,), (), True, False),
        (("sha256:" + "cd" * 32,), (), False, True),
        (("sha256:ab",), (), False, False),
        ((), ("ghcr.io/",), False, True),
        ((), (DIGEST,), False, True),
        ((), ("sha256:" + "cd" * 32,), True, False),
        (("ghcr.io/",), ("ghcr.io/acme/",), False, False),
    ],
)
def test_images_are_named_by_prefix_or_digest(
    allowed: tuple[str, ...], denied: tuple[str, ...], registry: bool, archive: bool
) -> None:
    rules = Rules(images_allowed=allowed, images_denied=denied)
    assert (operator.against_image(rules, REGISTRY) == ()) is registry
    assert (operator.against_image(rules, ARCHIVE) == ()) is archive


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        (Rules(classes=frozenset({VerificationClass.NONE})), Kind.VERIFICATION),
        (Rules(max_timeout_s=59), Kind.TIME),
        (Rules(max_retention_s=3599), Kind.TIME),
        (Rules(max_image_bytes=40 * 2**20 - 1), Kind.SIZE),
        (Rules(max_input_bytes=2**20 - 1), Kind.SIZE),
        (Rules(min_price_wei=Wei(DEMAND.price_cap_wei + 1)), Kind.PRICE),
    ],
)
def test_each_limit_is_inclusive_and_names_its_kind(rules: Rules, kind: Kind) -> None:
    assert kinds(rules) == [kind]
    (refusal,) = operator.against_demand(rules, DEMAND, NOW, 0)
    assert str(refusal).endswith("the operator can change this rule")


def test_exact_limits_are_allowed() -> None:
    exact = Rules(
        max_timeout_s=60,
        max_retention_s=3600,
        max_image_bytes=40 * 2**20,
        max_input_bytes=2**20,
        min_price_wei=DEMAND.price_cap_wei,
    )
    assert kinds(exact) == []


@pytest.mark.parametrize("hour", range(24))
@pytest.mark.parametrize("offset_hours", [-11, 0, 5, 14])
def test_hours_are_those_of_the_operators_clock(hour: int, offset_hours: int) -> None:
    rules = Rules(hours=frozenset({22, 23, 0, 1}))
    midnight = UnixTime(NOW // 86_400 * 86_400)
    at = UnixTime(midnight + hour * 3600 + 1800)
    refusals = operator.against_demand(rules, DEMAND, at, offset_hours * 3600)
    assert (refusals == ()) is ((hour + offset_hours) % 24 in rules.hours)


def test_hours_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 23"):
        Rules(hours=frozenset({24}))


def test_prices_bonds_and_exposure_are_bounded() -> None:
    rules = Rules(min_price_wei=Wei(10), max_fraud_bond_wei=Wei(50), max_exposure_wei=Wei(100))

    def found(price: int, bond: int, exposure: int) -> list[Kind]:
        return [r.kind for r in operator.against_price(rules, Wei(price), Wei(bond), Wei(exposure))]

    assert found(10, 50, 90) == []
    assert found(9, 50, 0) == [Kind.PRICE]
    assert found(10, 51, 0) == [Kind.BOND]
    assert found(10, 50, 91) == [Kind.EXPOSURE]
    assert found(9, 51, 92) == [Kind.PRICE, Kind.BOND, Kind.EXPOSURE]


def test_all_broken_rules_are_told() -> None:
    rules = replace(RULES, requesters_denied=frozenset({REQUESTER}), max_timeout_s=1, max_image_bytes=0)
    assert kinds(rules, resources=resources(timeout_s=2)) == [Kind.REQUESTER, Kind.TIME, Kind.SIZE]
