"""The lock files: complete, without addresses, and installable by someone who has no compiler."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.tooling.checkout import PACKAGES, ROOT, source_files

LOCKS = ("runtime", "dev", "bootstrap", "symbolic")

WITHOUT_WHEEL = ("python-baseconv", "varint")
"""Pure Python, published as sources only; tools/make_venv builds them with the locked setuptools."""

EXCEPTIONS = [part for name in WITHOUT_WHEEL for part in ("--no-binary", name)]
INSTALL = ["--no-deps", "--require-hashes"]


def read(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.lock").read_text()


def locked(lock: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ \\;]+)", read(lock), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_by_hash(lock: str) -> None:
    for entry in re.split(r"\n(?=\S)", read(lock).strip()):
        assert re.fullmatch(r"\S+==\S+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_python_lock_holds_no_address(lock: str) -> None:
    assert "://" not in read(lock)


def test_npm_lock_holds_no_download_address() -> None:
    text = (ROOT / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert ".tgz" not in text


def test_locks_agree() -> None:
    dev = locked("dev")
    for lock in ("runtime", "bootstrap"):
        assert locked(lock).items() <= dev.items()


def test_locks_hold_every_named_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for lock, wanted in (
        ("runtime", project["project"]["dependencies"]),
        ("dev", project["dependency-groups"]["dev"]),
    ):
        names = {re.split(r"[<>=~!;\[ ]", line)[0].lower() for line in wanted}
        assert names <= locked(lock).keys()


def test_fastecdsa_is_one_that_has_wheels() -> None:
    assert int(locked("runtime")["fastecdsa"].partition(".")[0]) >= 4


def test_npm_lock_pins_what_this_machine_installs() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    wanted = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    assert lock["packages"][""]["devDependencies"] == wanted
    for name, package in lock["packages"].items():
        # No registry within reach carried the other platforms' builds when the lock was made.
        elsewhere = "linux" not in package.get("os", ["linux"]) or "x64" not in package.get("cpu", ["x64"])
        assert not name or elsewhere or package["integrity"].startswith("sha512-"), name


@pytest.mark.gate
def test_everything_installs_without_a_compiler(tmp_path: Path) -> None:
    """On a PATH with nothing but Python, a requester's install works, and the package imports.

    From hashes, from wheels; the two exceptions are built by the locked setuptools and nothing else.
    """
    only_python = tmp_path / "bin"
    only_python.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in {"CC", "CXX", "PYTHONPATH"}}
    environment |= {"PATH": str(only_python), "CC": "/nonexistent", "CXX": "/nonexistent"}
    home = tmp_path / "environment"
    python = str(home / "bin" / "python")

    def uv(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "uv", "--quiet", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, done.stderr

    install = ["pip", "install", "--python", python, *INSTALL, "--no-build-isolation", "--only-binary", ":all:"]
    uv("venv", "--python", sys.executable, str(home))
    uv(*install, "--requirement", "requirements/bootstrap.lock")
    uv(*install, *EXCEPTIONS, "--requirement", "requirements/runtime.lock")
    (home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages" / "here.pth").write_text(
        str(ROOT / "src")
    )
    done = subprocess.run(
        [python, "-c", "import libp2p, docker, web3, fastecdsa, capanode.protocol.encoding"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
@pytest.mark.gate
def test_wheels_exist_for(version: str, platform: str, tmp_path: Path) -> None:
    where = ["--target", str(tmp_path), "--python-version", version, "--python-platform", platform]
    what = ["--only-binary", ":all:", *EXCEPTIONS, "--requirement", "requirements/dev.lock"]
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "--dry-run", *INSTALL, *where, *what],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr


def test_every_imported_library_is_a_named_dependency() -> None:
    """And not only there because another one needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[<>=~!;\[ ]", line)[0].lower() for line in project["dependencies"]}
    distributions = packages_distributions()
    missing = {
        f"{file}: {name}"
        for file in source_files()
        if file.suffix == ".py" and file.parts[0] in PACKAGES
        for name in imported_by(file)
        if name not in {"capanode", *sys.stdlib_module_names}
        and not named & {distribution.lower().replace("_", "-") for distribution in distributions.get(name, [name])}
    }
    assert not missing, "name them in pyproject.toml: " + ", ".join(sorted(missing))


def imported_by(file: Path) -> set[str]:
    found = set[str]()
    for statement in ast.walk(ast.parse((ROOT / file).read_text())):
        match statement:
            case ast.Import(names=names):
                found |= {name.name.partition(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module.partition(".")[0])
            case _:
                pass
    return found
