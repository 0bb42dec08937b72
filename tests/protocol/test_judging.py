"""Rules of judging: the contracts' digest of them, how a deal binds them, and what no rules may say."""

from dataclasses import replace
from typing import Any

import pytest

from capanode.protocol import encoding, typed_data
from capanode.protocol.ids import ZERO_DIGEST, Digest, Ppm, Wei
from capanode.protocol.judging import (
    CLASS_NUMBERS,
    Rules,
    VerificationClass,
    class_pool,
    named_pool,
    rules_digest,
    steps_word,
)
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import Demand, Spec
from tests.vectors import golden

VECTORS = golden.load("typed_data")
CLASSES = {number: name for name, number in CLASS_NUMBERS.items()}


def rules_of(vector: dict[str, Any]) -> Rules:
    return Rules(
        verification=CLASSES[vector["class_"]],
        sealed=bool(vector["sealed_"]),
        quorum=vector["quorum"],
        pool=vector["pool"],
        comparator=vector["comparator"],
        max_state_bytes=vector["maxStateBytes"],
        step_s=vector["stepSeconds"],
        arbiter_fee_wei=vector["arbiterFee"],
        audit_rate_ppm=vector["auditPpm"],
    )


EXACT, NAMED, LARGEST = (rules_of(VECTORS[f"rules_{name}"]) for name in ("exact", "named", "largest"))


@pytest.mark.parametrize("name", ["exact", "named", "largest"])
def test_rules_are_bound_as_the_reference_says(name: str) -> None:
    vector = VECTORS[f"rules_{name}"]
    rules = rules_of(vector)
    assert rules_digest(rules) == vector["digest"]
    steps = steps_word(rules, vector["first_step"], vector["step_limit"])
    assert steps == vector["steps"] < 2**256
    demand = VECTORS["demand_digest"]
    assert typed_data.demand_digest(demand["spec"], demand["input_root"], steps) == vector["demand_digest"]


def test_a_demand_that_names_its_arbiters_binds_them_as_the_reference_says() -> None:
    vector, records = VECTORS["rules_demand_named"], golden.load("records")
    demand = encoding.decode(Demand, records["demand_named"]["bytes"])
    spec = encoding.decode(Spec, records["spec_hardware_class"]["bytes"])
    assert demand.rules == rules_of(vector)
    assert demand.named == NamedSet(tuple(VECTORS["rules_pools"]["arbiters"]), 2)
    assert spec.hardware_class == demand.hardware_class == VECTORS["rules_pools"]["hardware_class"]
    steps = steps_word(demand.rules, demand.first_step, demand.step_limit)
    bound = typed_data.demand_digest(typed_data.spec_digest(spec), demand.input_root, steps)
    assert (steps, bound) == (vector["steps"], vector["demand_digest"])


def test_pools_are_named_as_the_reference_says() -> None:
    pools = VECTORS["rules_pools"]
    assert class_pool(pools["hardware_class"]) == EXACT.pool
    assert (
        named_pool(pools["arbiters"]) == named_pool([*pools["arbiters"][::-1], pools["arbiters"][0]]) == pools["named"]
    )


def test_a_deal_without_rules_binds_zero() -> None:
    assert rules_digest(None) == 0
    assert steps_word(None, 7, 3) == 7 << 32 | 3


def test_each_field_changes_the_digest() -> None:
    changes: list[dict[str, Any]] = [
        {"verification": VerificationClass.REPLICATED},
        {"sealed": False},
        {"quorum": 3},
        {"pool": Digest(bytes(32))},
        {"comparator": Digest(b"c" * 32)},
        {"max_state_bytes": 1},
        {"step_s": 1},
        {"arbiter_fee_wei": Wei(0)},
        {"audit_rate_ppm": Ppm(1)},
    ]
    assert len({rules_digest(NAMED), *(rules_digest(replace(NAMED, **change)) for change in changes)}) == 10


@pytest.mark.parametrize(
    ("rules", "change"),
    [
        (EXACT, {"verification": VerificationClass.NONE}),
        (EXACT, {"comparator": Digest(b"c" * 32)}),
        (NAMED, {"comparator": ZERO_DIGEST}),
        (EXACT, {"quorum": -1}),
        (EXACT, {"quorum": 256}),
        (EXACT, {"pool": Digest(bytes(31))}),
        (NAMED, {"comparator": Digest(b"c" * 33)}),
        (EXACT, {"max_state_bytes": 0}),
        (EXACT, {"max_state_bytes": 2**64}),
        (EXACT, {"step_s": 0}),
        (EXACT, {"step_s": 2**32}),
        (EXACT, {"arbiter_fee_wei": Wei(-1)}),
        (EXACT, {"arbiter_fee_wei": Wei(2**96)}),
        (EXACT, {"audit_rate_ppm": Ppm(0)}),
        (EXACT, {"audit_rate_ppm": Ppm(1_000_001)}),
    ],
)
def test_rules_that_say_nothing_are_refused(rules: Rules, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(rules, **change)
