"""`capanode devnet up` as a user runs it: comes up, can be looked at, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from capanode.node.cli.exits import Exit
from capanode.node.data_folder import DataFolder, holder
from capanode.node.devnet import DevnetPlan, devnet_status, open_devnet, stop_devnet
from capanode.protocol.faults import Misconfigured, Unavailable

CAPANODE = [sys.executable, "-m", "capanode.node"]


@contextmanager
def up(root: Path, *options: str) -> Generator[subprocess.Popen[str]]:
    """A devnet in a process of its own, once it says that it is up."""
    command = [*CAPANODE, "devnet", "up", "--data", str(root), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = list(_until(process.stderr, "Ctrl-C stops everything."))
            assert "Ctrl-C stops everything." in said, said
            yield process
        finally:
            process.terminate()
            process.communicate()


def _until(lines: object, last: str) -> Generator[str]:
    for line in lines:  # type: ignore[attr-defined]  # a pipe
        yield line.strip()
        if last in line:
            return


def under(root: Path) -> list[int]:
    """Processes that work on a folder."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if str(root) in " ".join(p.info["cmdline"] or ())]


@pytest.mark.timeout(240)
def test_devnet_comes_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = tmp_path / "net"
    with up(root, "--providers", "1") as process:
        status = devnet_status(root)
        assert [node["state"] for node in status["nodes"]] == ["up"]
        asked = subprocess.run(
            [*CAPANODE, "devnet", "status", "--json", "--data", str(root)], capture_output=True, text=True, check=True
        )
        assert json.loads(asked.stdout)["rpc_url"] == status["rpc_url"]
        again = subprocess.run([*CAPANODE, "devnet", "up", "--data", str(root)], capture_output=True, check=False)
        assert again.returncode == Exit.INPUT
        assert len(under(root)) >= 2
        process.send_signal(signal.SIGINT)
        process.wait()
        assert process.returncode == 0
    assert under(root) == []
    assert holder(DataFolder(root)) is None
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(root) in line]


def test_nothing_to_stop_is_no_error(tmp_path: Path) -> None:
    assert not stop_devnet(tmp_path)
    with pytest.raises(Unavailable, match="devnet up"):
        devnet_status(tmp_path)


async def test_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Misconfigured, match="other things"):
        async with open_devnet(DevnetPlan(tmp_path), lambda _: None):
            raise AssertionError
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.timeout(240)
def test_devnet_that_was_killed_starts_again_and_ends_what_was_left(tmp_path: Path) -> None:
    root = tmp_path / "net"
    with up(root, "--providers", "1") as first:
        state = json.loads((root / "devnet.json").read_text("utf-8"))
        first.kill()
        first.wait()
    left = holder(DataFolder(Path(state["nodes"][0]["data"])))
    assert left is not None, "its nodes outlive it"
    with up(root, "--providers", "1"):
        assert not psutil.pid_exists(left)
        assert [node["state"] for node in devnet_status(root)["nodes"]] == ["up"]
    assert under(root) == []
    assert str(root) not in Path("/proc/mounts").read_text("utf-8")
