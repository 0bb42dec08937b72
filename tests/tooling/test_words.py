"""Phases and acts: one list, the same in the code, in ARCHITECTURE.md, in docs/protocol.md and in the glossary."""

import json
import os
import re

import pytest

from capanode.protocol.phases import TRANSITIONS, Phase
from tests.tooling.checkout import ROOT

PAGE = ROOT / "ARCHITECTURE.md"
BEGIN = "<!-- phases: made by tests/tooling/test_words.py, run with CAPANODE_WRITE_DOCS=1 -->\n"
END = "<!-- end of phases -->\n"
CONTRACTS = ("ArbiterPools", "Directory", "DealMarket", "DisputeCourt", "ProviderRegistry")


def test_phase_table_is_that_of_the_code() -> None:
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}{_table()}{END}{after}"
    if os.environ.get("CAPANODE_WRITE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
    assert text == wanted, "run this test with CAPANODE_WRITE_DOCS=1 to write the table anew"


def _table() -> str:
    rows = ["| from | act | who | when | to |", "|---|---|---|---|---|"]
    rows += [f"| {t.source.name} | `{t.action}` | {t.who} | {t.when} | {t.target.name} |" for t in TRANSITIONS]
    return "\n" + "\n".join(rows) + "\n\n"


@pytest.mark.parametrize("phase", Phase)
def test_glossary_explains_every_phase(phase: Phase) -> None:
    assert re.search(rf"^\| {phase.name} \|", (ROOT / "GLOSSARY.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_glossary_explains_every_function(contract: str) -> None:
    known = set(re.findall(r"`(\w+)`", (ROOT / "GLOSSARY.md").read_text("utf-8")))
    abi = json.loads((ROOT / "contracts_abi" / f"{contract}.json").read_text("utf-8"))["abi"]
    functions = {entry["name"] for entry in abi if entry["type"] == "function"}
    assert functions
    assert functions <= known, f"GLOSSARY.md does not explain {sorted(functions - known)}"


def test_glossary_explains_every_act_of_a_deal() -> None:
    known = set(re.findall(r"`(\w+)`", (ROOT / "GLOSSARY.md").read_text("utf-8")))
    assert {t.action for t in TRANSITIONS} <= known
