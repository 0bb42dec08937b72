"""`tools/node` finds a Node or says that there is none, wherever it stands on PATH itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tooling.checkout import ROOT

MISSING = "Node is missing: run 'make setup', or name a Node of at least version 20 in CAPANODE_NODE.\n"
NONE = "CAPANODE_NODE names no Node: leave it out, or name a Node of at least version 20 in it.\n"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """The folder of a checkout without an environment, where `node` is the script."""
    folder = tmp_path / "checkout" / "tools"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "node", folder)
    return folder


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder with what the script needs of a system, and no Node."""
    folder = tmp_path / "system"
    folder.mkdir()
    dirname = shutil.which("dirname")
    assert dirname is not None
    (folder / "dirname").symlink_to(dirname)
    return folder


def run(tools: Path, path: list[Path], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tools / "node", "a b", "*"],
        env={"PATH": ":".join(map(str, path)), **variables},
        cwd=tools,
        capture_output=True,
        text=True,
        timeout=10,
    )


def real(folder: Path) -> Path:
    """A program of that name that shows its arguments."""
    folder.mkdir()
    program = folder / "node"
    program.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    program.chmod(0o755)
    return folder


def test_it_does_not_run_itself_for_ever(tools: Path, system: Path) -> None:
    done = run(tools, [tools, system])
    assert (done.returncode, done.stdout, done.stderr) == (127, "", MISSING)


def test_it_is_the_same_by_a_link(tools: Path, system: Path) -> None:
    (system / "node").symlink_to(tools / "node")
    done = run(tools, [system])
    assert (done.returncode, done.stderr) == (127, MISSING)


def test_it_runs_the_next_one_on_the_path(tools: Path, system: Path, tmp_path: Path) -> None:
    done = run(tools, [tools, system, real(tmp_path / "later with a space")])
    assert (done.returncode, done.stdout) == (0, "<a b><*>")


def test_the_one_that_is_named_comes_first(tools: Path, system: Path, tmp_path: Path) -> None:
    named = real(tmp_path / "named") / "node"
    assert run(tools, [tools, system], CAPANODE_NODE=str(named)).stdout == "<a b><*>"


@pytest.mark.parametrize("name", ["node", "./node", "nowhere", "/nowhere/node"])
def test_a_name_of_itself_or_of_nothing_is_told(tools: Path, system: Path, name: str) -> None:
    done = run(tools, [tools, system], CAPANODE_NODE=name)
    assert (done.returncode, done.stderr) == (127, NONE)
