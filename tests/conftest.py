"""What all tests share: dice with a printed seed, and examples that do not fail for being slow."""

import os
import random
import secrets
import sys

import hypothesis
import py_ecc  # noqa: F401
import pytest

# What the tests take from eth-account imports it; see capanode.node.keys.accounts.
sys.setrecursionlimit(1000)

SEED = int(os.environ.get("CAPANODE_SEED") or secrets.randbits(32))
# For the processes among which a run is divided: they inherit it.
os.environ["CAPANODE_SEED"] = str(SEED)

LONG = ("tooling/test_gates", "faults", "e2e", "contracts", "chaos", "devnet", "demo", "cli", "tooling")
"""Where the tests are that take longest, so that a divided run begins with them and its parts end together."""

# Hypothesis prints its own way to repeat a failure (the blob).
hypothesis.settings.register_profile("capanode", deadline=None, print_blob=True)
hypothesis.settings.load_profile("capanode")


def pytest_report_header() -> str:
    return f"seed {SEED}: CAPANODE_SEED={SEED} repeats this run's dice"


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Randomness that the seed in the header repeats, another one for each test."""
    return random.Random(f"{SEED} {request.node.nodeid}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((place for place, name in enumerate(LONG) if f"tests/{name}" in item.nodeid), len(LONG))
    )
