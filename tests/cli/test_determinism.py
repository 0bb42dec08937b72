"""`capanode job check-determinism` on the real engine: an exact job, one with a time in it, one with rounding noise."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from capanode.node.cli.exits import Exit
from capanode.node.images.pack_python import pack_python

EXACT = "open('/out/answer.json', 'w').write('[0.1, 2]')"
STAMPED = EXACT + "; import time; open('/out/made', 'w').write(time.strftime('%H:%M:%S'))"
# What differs is which processors there are, as it would with a sum that is split among them.
NOISY = """
import os, struct
wide = len(os.sched_getaffinity(0))
open('/out/sums.f64', 'wb').write(struct.pack('<3d', 1.0, 2.0 + wide * 1e-13, 0.1))
print(wide)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "python.tar"
    pack_python(path, ())
    return path


COUNTING = "import os; open('/state/log', 'a').write(os.environ['CAPANODE_STEP'])"
LATE = (
    COUNTING + "; import time; os.environ['CAPANODE_STEP'] == '1' and open('/state/at', 'w').write(time.strftime('%S'))"
)


def check(
    archive: Path,
    folder: Path,
    program: str,
    verification: str | dict[str, Any],
    limits: dict[str, Any] | None = None,
) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was told."""
    job = {
        "image": str(archive),
        "command": ["-c", program],
        "price_cap": 1,
        "verification": verification,
        **(limits or {"timeout": "30s"}),
    }
    (folder / "job.yaml").write_text(json.dumps(job), "utf-8")
    command = [sys.executable, "-m", "capanode.node", "job", "check-determinism", str(folder / "job.yaml")]
    done = subprocess.run(
        [*command, "--data", str(folder / "data"), "--json"], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_job_that_is_exact(archive: Path, tmp_path: Path) -> None:
    code, told = check(archive, tmp_path, EXACT, "exact")
    assert (code, told["class"], told["differing"], told["files"]) == (Exit.DONE, "exact", [], 1)
    left = subprocess.run(
        ["docker", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=True
    )
    assert "capanode-local" not in left.stdout


def test_time_in_a_result_is_found(archive: Path, tmp_path: Path) -> None:
    code, told = check(archive, tmp_path, STAMPED, "exact")
    assert (code, told["class"], told["stated_holds"]) == (Exit.UNVERIFIED, "none", False)
    assert [one["path"] for one in told["differing"]] == ["made"]


def test_rounding_gets_bounds_that_hold(archive: Path, tmp_path: Path) -> None:
    code, told = check(archive, tmp_path, NOISY, "exact")
    assert (code, told["class"], told["same_stdout"]) == (Exit.UNVERIFIED, "tolerance", False)
    (one,) = told["differing"]
    assert one["path"] == "sums.f64"
    assert 0 < one["largest"] < 1e-12
    stated = {name: float(value) for name, value in one["suggestion"].items()}
    verification = {"class": "tolerance", "comparators": {one["path"]: stated}}
    code, told = check(archive, tmp_path, NOISY, verification)
    assert (code, told["stated"], told["stated_holds"]) == (Exit.DONE, "tolerance", True)


def test_the_first_step_that_differs_is_named(archive: Path, tmp_path: Path) -> None:
    steps = {"steps": {"limit": 3, "timeout": "30s", "state": "1MiB"}}
    code, told = check(archive, tmp_path, COUNTING, "exact", steps)
    assert (code, told["class"], told["steps"], told["step"]) == (Exit.DONE, "exact", 3, None)
    code, told = check(archive, tmp_path, LATE, "exact", steps)
    assert (code, told["class"], told["steps"], told["step"]) == (Exit.UNVERIFIED, "none", 2, 1)
    assert [one["path"] for one in told["differing"]] == ["at"]
