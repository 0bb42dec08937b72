"""`capanode run --local`: the market's sandbox on this machine, and nothing left of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from capanode.node.cli.exits import Exit
from capanode.node.images.pack_python import pack_python

PROGRAM = """
import os, sys
print(open("/in/text").read(), os.getuid())
open("/out/answer", "w").write("42")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "python.tar"
    pack_python(path, ())
    return path


def run(archive: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "text.txt").write_text("hello", "utf-8")
    command = [sys.executable, "-m", "capanode.node", "run", "--local", "--data", str(folder / "data"), "--json"]
    command += ["--input", "text=text.txt", "--timeout", "20s", "--out", "result", str(archive), "--", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("status", "code"), [("0", Exit.DONE), ("3", Exit.JOB_FAILED)])
def test_program_runs_and_leaves_its_outputs_only(archive: Path, tmp_path: Path, status: str, code: Exit) -> None:
    done = run(archive, tmp_path, "-c", PROGRAM, status)
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert told["exit_code"] == int(status)
    assert told["log"] == "hello 65534\n"
    assert (tmp_path / "result" / "answer").read_text() == "42"
    assert (
        "capanode-local"
        not in subprocess.run(
            ["docker", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=True
        ).stdout
    )
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_folder_with_other_things_is_not_written_to(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "thesis").write_text("years of work")
    done = run(archive, tmp_path, "-c", PROGRAM, "0")
    assert done.returncode == Exit.REFUSED
    assert "not empty" in done.stderr
