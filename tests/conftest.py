"""What all tests share: dice with a printed seed, and examples that do not fail for being slow."""

import os
import random
import secrets
import sys

import hypothesis
import py_ecc  # noqa: F401
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests import division
from tests.clocks import patient_clock as patient_clock

# What the tests take from eth-account imports it; see capanode.node.keys.accounts.
sys.setrecursionlimit(1000)

SEED = int(os.environ.get("CAPANODE_SEED") or secrets.randbits(32))
# For the processes among which a run is divided: they inherit it.
os.environ["CAPANODE_SEED"] = str(SEED)

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
    items.sort(key=lambda item: division.place(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = division.part
    return scheduling
