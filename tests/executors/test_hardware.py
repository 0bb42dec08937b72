"""What this processor is called, and the pins of `exact` jobs; the levels are the scheduler's to test."""

import platform
from pathlib import Path

from capanode.node.executors.hardware import determinism_env, this_cpu_class
from capanode.scheduler.hardware import cpu_class


def test_the_class_comes_from_the_kernel_s_flags(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: cx16 popcnt\nprocessor\t: 1\nflags\t\t: other\n")

    assert this_cpu_class(cpuinfo) == cpu_class(platform.machine(), frozenset({"cx16", "popcnt"}))


def test_a_processor_without_flags_has_the_lowest_class(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")

    assert this_cpu_class(tmp_path / "cpuinfo") == cpu_class(platform.machine(), frozenset())


def test_the_pins_are_sorted_and_named_once() -> None:
    names = [name for name, _ in determinism_env()]

    assert names == sorted(set(names))
    assert dict(determinism_env())["OPENBLAS_CORETYPE"] == "Haswell"
