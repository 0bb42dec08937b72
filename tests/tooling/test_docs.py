"""The documents point at things that exist."""

import re
from pathlib import Path

import pytest

from tests.tooling.checkout import ROOT, source_files

DOCUMENTS = [file for file in source_files() if file.suffix == ".md"]
LINK = re.compile(r"\[[^]]*\]\(([^)#\s]+)")
MAKE = re.compile(r"`make ([a-z-]+)")


@pytest.mark.parametrize("file", DOCUMENTS, ids=str)
def test_links_lead_somewhere(file: Path) -> None:
    links = LINK.findall((ROOT / file).read_text())
    lost = [link for link in links if ":" not in link and not (ROOT / file).parent.joinpath(link).exists()]
    assert not lost, f"{file} points at {lost}"


@pytest.mark.parametrize("file", DOCUMENTS, ids=str)
def test_make_targets_exist(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE.findall((ROOT / file).read_text())) <= targets


def test_contributing_names_every_rule_that_is_checked() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for rule in ("never relatively", "Imports point one way", "Warnings are errors", "strict", "without a compiler"):
        assert re.search(rule.replace(" ", r"\s+"), text), f"CONTRIBUTING.md does not mention: {rule}"


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    assert phony - explained <= {"engine"}
