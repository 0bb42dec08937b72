"""The wheel holds what the repository holds: some backends leave linked folders out and say nothing."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tooling.checkout import PACKAGES, copy_to, source_files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a clean copy: setuptools keeps files in build/lib that are long gone.
    checkout = copy_to(tmp_path_factory.mktemp("checkout"))
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(checkout)],
        check=True,
        capture_output=True,
        timeout=100,
    )
    [built] = out.glob("*.whl")
    return built


def packaged() -> set[str]:
    """Every tracked file of the package, by its name in the wheel."""
    linked = {f"capanode/{file}" for file in source_files() if file.parts[0] in PACKAGES}
    own = {str(file.relative_to("src")) for file in source_files() if file.parts[:2] == ("src", "capanode")}
    return (linked | own) - {f"capanode/{package}" for package in PACKAGES}


def test_wheel_holds_exactly_the_tracked_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == packaged()


def test_wheel_installs_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "capanode = capanode.node.cli:main" in archive.read(entry).decode()
