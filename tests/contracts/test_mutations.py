"""The mutations that `make mutations` tries still have their places in the contracts."""

import importlib
from pathlib import Path
from typing import Any

import pytest

# By its name: the type checker knows the scripts of that folder by other names.
tool = importlib.import_module("tools.mutations")


@pytest.mark.parametrize("mutation", tool.MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_place_is_there_once_and_changes(mutation: Any) -> None:
    assert mutation.text != mutation.instead
    tool.mutated(mutation)


@pytest.mark.parametrize("mutation", tool.MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_properties_say_by_what_it_is_seen(mutation: Any) -> None:
    assert f"\n| {mutation.name} | " in (tool.ROOT / "contracts" / "PROPERTIES.md").read_text("utf-8")


def test_names_tell_mutations_apart() -> None:
    assert len({mutation.name for mutation in tool.MUTATIONS}) == len(tool.MUTATIONS)


@pytest.mark.parametrize("text", ["", "a = 1;\na = 1;"], ids=["gone", "twice"])
def test_a_place_that_is_not_there_once_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "A.sol").write_text(text)
    with pytest.raises(ValueError, match=r"one: its text stands [02] times in A\.sol"):
        tool.mutated(tool.Mutation("one", "A.sol", "a = 1;", "a = 2;"), tmp_path)


def test_a_failure_is_the_invariant_and_its_reason_without_figures() -> None:
    failed = {"status": "Failure", "reason": "the court has nothing: 3 != 0"}
    suites = {"A.sol:A": {"test_results": {"invariant_X()": failed, "invariant_Y()": {"status": "Success"}}}}
    assert list(tool.failures_of(suites)) == ["invariant_X: the court has nothing"]


def test_contracts_that_cannot_be_deployed_are_not_seen_but_an_error() -> None:
    suites = {"A.sol:A": {"test_results": {"setUp()": {"status": "Failure", "reason": "CreateContractSizeLimit"}}}}
    with pytest.raises(RuntimeError, match="before anybody played"):
        list(tool.failures_of(suites))
