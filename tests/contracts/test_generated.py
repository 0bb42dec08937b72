"""What is committed in `contracts_abi/` and the gas snapshot are what the sources give today."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """tools/generate_abi.py, which is a script beside its own module."""
    folder = str(ROOT / "tools")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location("generate_abi", ROOT / "tools" / "generate_abi.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(folder)


@pytest.mark.timeout(600)
def test_a_rebuild_gives_the_same_bytes(generator: ModuleType) -> None:
    for name, text in generator.generate(generator.kept()).items():
        written = (ROOT / "contracts_abi" / name).read_text()
        assert written == text, f"contracts_abi/{name} is stale: run python tools/generate_abi.py"


def test_a_release_is_noted_once_and_after_the_earlier_ones(generator: ModuleType) -> None:
    code = {"object": "0x6001", "immutableReferences": {"7": [{"start": 1, "length": 1}]}}
    built = {"DealMarket": {"abi": [], "bytecode": {"object": "0x"}, "deployedBytecode": code}}
    before = {"DealMarket": [{"codeHash": "0x01", "immutables": []}]}
    once = generator.with_release(before, built)
    assert once["DealMarket"][0] == before["DealMarket"][0]
    assert once["DealMarket"][1]["immutables"] == [{"start": 1, "length": 1}]
    assert len(once["DealMarket"]) == 2
    assert generator.with_release(once, built) == once


@pytest.mark.timeout(600)
def test_gas_is_that_of_the_snapshot() -> None:
    chosen = ["--no-match-test", "Fuzz", "--no-match-contract", "Vectors|Invariants"]
    command = [str(ROOT / "tools" / "forge"), "snapshot", *chosen, "--snap", "contracts/.gas-snapshot", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\nIf the change is meant: the same command without --check"
