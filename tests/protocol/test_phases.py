"""The table of transitions against everything that is made from it: the contracts' enum and the documents."""

import re
from pathlib import Path

import pytest

from capanode.protocol.phases import TERMINAL, TRANSITIONS, Phase, Transition
from capanode.protocol.records import Mode

ROOT = Path(__file__).parents[2]
HEAD = "| from | action | who | when | to |"


def documents() -> list[Path]:
    """Every document of this repository that shows the table."""
    candidates = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    return [path for path in candidates if HEAD in path.read_text()]


def solidity_enum(name: str) -> list[str]:
    for source in (ROOT / "contracts" / "src").rglob("*.sol"):
        if found := re.search(rf"\benum {name} {{([^}}]*)}}", source.read_text()):
            body = re.sub(r"//[^\n]*", "", found[1])
            return [word.strip() for word in body.split(",") if word.strip()]
    raise AssertionError(f"the contracts have no enum {name}")


@pytest.mark.parametrize("enum", [Phase, Mode])
def test_the_contracts_count_alike(enum: type[Phase] | type[Mode]) -> None:
    assert solidity_enum(enum.__name__) == [member.name for member in sorted(enum)]
    assert [member.value for member in sorted(enum)] == list(range(len(enum)))


def test_the_protocol_document_shows_the_table() -> None:
    assert ROOT / "docs" / "protocol.md" in documents()


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_document_shows_exactly_the_table(path: Path) -> None:
    _, _, rest = path.read_text().partition(HEAD)
    rows = [line for line in rest.partition("\n\n")[0].splitlines() if line.startswith("|")][1:]
    assert [_row(line) for line in rows] == list(TRANSITIONS)


def _row(line: str) -> Transition:
    source, action, who, when, target = (cell.strip() for cell in line.strip("|").split("|"))
    return Transition(Phase[source], action, who, when, Phase[target])


def test_nothing_leaves_where_the_money_has_moved() -> None:
    assert {row.source for row in TRANSITIONS} == set(Phase) - TERMINAL


def test_every_phase_is_reached_from_none_and_ends() -> None:
    assert reached(Phase.NONE) == set(Phase)
    for phase in Phase:
        assert reached(phase) & TERMINAL


def reached(start: Phase) -> set[Phase]:
    found, front = {start}, [start]
    while front:
        source = front.pop()
        fresh = {row.target for row in TRANSITIONS if row.source is source} - found
        found |= fresh
        front += fresh
    return found


def test_a_call_has_one_meaning() -> None:
    calls = [(row.source, row.action) for row in TRANSITIONS]
    assert len(calls) == len(set(calls))
