"""The list of attacks, and how the tool finds who holds each."""

import re

import pytest

from tests.attacks.report import LIST, Held, attack_of, listed, table
from tests.tooling.checkout import ROOT


def test_page_lists_all_forty_one_once() -> None:
    text = LIST.read_text("utf-8")
    assert list(listed(text)) == list(range(1, 42))
    assert len(re.findall(r"^\| \d+ \|", text, re.MULTILINE)) == 41


@pytest.mark.parametrize(
    ("test", "attack"),
    [
        ("test_Attack01_LeafOfAnotherDeal()", 1),
        ("test_fuzz_Attack23_LongProofs(bytes)", 23),
        ("test_attack_41_cheating_pays[1000]", 41),
        ("test_attacker_is_refused", None),
        ("test_NoAttack", None),
    ],
)
def test_attack_is_in_the_name(test: str, attack: int | None) -> None:
    assert attack_of(test) == attack


def test_what_has_no_test_or_fails_is_shown() -> None:
    lines = list(table({1: "one", 2: "two", 3: "three"}, {1: [Held(1, "a", True)], 2: [Held(2, "b", False)]}))
    assert [line.split() for line in lines] == [
        ["1", "one"],
        ["held", "a"],
        ["2", "two"],
        ["FAILED", "b"],
        ["3", "three"],
        ["MISSING"],
    ]


def test_names_of_attack_tests_carry_a_number_of_the_page() -> None:
    numbers = set(listed(LIST.read_text("utf-8")))
    sources = [*(ROOT / "contracts" / "test").rglob("*.sol"), *(ROOT / "tests" / "attacks").rglob("*.py")]
    named = [name for path in sources for name in re.findall(r"\b(test_(?:fuzz_)?[Aa]ttack\w*)\(", path.read_text())]
    assert not [name for name in named if attack_of(name) not in numbers]
