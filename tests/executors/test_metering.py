"""Usage from control groups of both versions, laid out as the kernel does."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from capanode.node.executors.metering import Reading, discard, leftover_parents, parent_for, read_usage


def test_names_as_each_engine_driver_wants_them() -> None:
    assert parent_for("node1", "ab0", driver="cgroupfs") == "/capanode-node1/ab0"
    assert parent_for("node1", "ab0", driver="systemd") == "capanode-node1-ab0.slice"


def test_version_1(tmp_path: Path) -> None:
    for controller, file, value in (
        ("cpuacct", "cpuacct.usage", "1004300000\n"),
        ("memory", "memory.max_usage_in_bytes", "114000000\n"),
    ):
        group = tmp_path / controller / "capanode-node1" / "ab0"
        group.mkdir(parents=True)
        (group / file).write_text(value)

    assert read_usage("/capanode-node1/ab0", root=tmp_path) == Reading(1_004_300_000, 114_000_000)
    assert leftover_parents("node1", root=tmp_path) == ["/capanode-node1/ab0"]
    assert leftover_parents("node2", root=tmp_path) == []


def test_version_2_below_a_slice(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    group = tmp_path / "capanode.slice" / "capanode-node1.slice" / "capanode-node1-ab0.slice"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text("usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n")
    (group / "memory.peak").write_text("4096\n")

    assert read_usage("capanode-node1-ab0.slice", root=tmp_path) == Reading(1_500_000, 4096)


@pytest.mark.parametrize("content", ["", "max\n", "usage_usec\n", "usage_usec x\n"])
def test_what_cannot_be_read_is_unknown_and_not_zero(tmp_path: Path, content: str) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    group = tmp_path / "capanode-node1" / "ab0"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text(content)
    (group / "memory.peak").write_text(content)

    assert read_usage("/capanode-node1/ab0", root=tmp_path) == Reading(None, None)
    assert read_usage("/capanode-node1/gone", root=tmp_path) == Reading(None, None)


def test_groups_that_the_engine_takes_away_meanwhile_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, vanishing = os.scandir, tmp_path / "cpu" / "capanode-node1" / "ab0" / "container"
    vanishing.mkdir(parents=True)

    def slow(path: str | Path) -> object:
        if Path(path) in (vanishing, vanishing.parent.parent):
            with suppress(FileNotFoundError):
                vanishing.rmdir()
                vanishing.parent.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)
    discard("/capanode-node1/ab0", root=tmp_path)
    assert not vanishing.parent.exists()
    assert leftover_parents("node1", root=tmp_path) == []


def test_discarding_leaves_other_groups_alone(tmp_path: Path) -> None:
    for controller in ("cpu", "memory"):
        for name in ("ab0", "ab1"):
            (tmp_path / controller / "capanode-node1" / name).mkdir(parents=True)

    discard("/capanode-node1/ab0", root=tmp_path)
    discard("/capanode-node1/ab0", root=tmp_path)

    assert leftover_parents("node1", root=tmp_path) == ["/capanode-node1/ab1"]


def test_discarding_ends_what_the_engine_has_forgotten(tmp_path: Path) -> None:
    forgotten = subprocess.Popen(["sleep", "60"])
    nested = tmp_path / "pids" / "capanode-node1" / "ab0" / "container"
    nested.mkdir(parents=True)
    (nested / "cgroup.procs").write_text(f"0\n{forgotten.pid}\n")
    discard("/capanode-node1/ab0", root=tmp_path)
    assert forgotten.wait(timeout=10) == -signal.SIGKILL


def test_discarding_a_slice_asks_systemd_to_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >{asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    discard("capanode-node1-ab0.slice", root=tmp_path / "cgroup")

    assert asked.read_text() == "stop capanode-node1-ab0.slice\n"
