"""The checks that other programs do, as tests: one run shows them all."""

import subprocess

import pytest

from tests.tooling.checkout import ROOT


@pytest.mark.gate
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", ["lint", "types", "contracts-test", "slither", "symbolic"])
def test_make_target_passes(target: str) -> None:
    done = subprocess.run(["make", "--silent", target], cwd=ROOT, capture_output=True, text=True, timeout=1180)
    if done.returncode != 0:
        pytest.fail(f"make {target}\n{done.stdout}{done.stderr}", pytrace=False)
