"""How often honest rounding would be taken for cheating, and how often cheaper work would pass: tolerance, calibrated.

Every kernel is computed with different orders of summation, in processes with different BLAS code and thread counts.
Bounds are made from the runs of some seeds, as an author would; runs of other seeds are then compared with the
reference by the very comparator that judges. Nothing is tuned on the runs that are counted.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import kernels, report
from bench.kernels import Arithmetic, Array
from capanode.proofs.comparators import closeness
from capanode.proofs.steering import drift, is_steered
from capanode.protocol.comparator import Closeness, amount, bits
from capanode.protocol.ids import Ppm

FIT_SEEDS: Final = 10
SEEDS: Final = 60
"""The first ones fit the bounds, the others are counted."""

MARGIN: Final = 4.0
"""Times the largest difference that was seen while fitting."""

MAX_BIAS_PPM: Final = Ppm(500_000)
MAX_COHERENCE: Final = 0.5
PUSH: Final = 0.25
"""Of the tolerance: how far a steered step is off, always in the same direction."""


@dataclass(frozen=True, slots=True)
class Build:
    """One way in which NumPy's BLAS may run: the processor that its code is for, and its threads."""

    core: str
    threads: int
    flag: str

    @property
    def name(self) -> str:
        return f"{self.core}.{self.threads}"


REFERENCE: Final = Build("Haswell", 1, "avx2")
BUILDS: Final = (
    REFERENCE,
    Build("Haswell", 2, "avx2"),
    Build("SkylakeX", 1, "avx512f"),
    Build("Sandybridge", 1, "avx"),
    Build("Nehalem", 2, "sse4_2"),
    Build("Prescott", 1, "pni"),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        builds = [build for build in BUILDS if build.flag in _flags()]
        for build in builds:
            _compute(build, Path(folder) / build.name)
        report.write("calibration", _figures(Path(folder), builds))


def _flags() -> frozenset[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return frozenset(next((line.split() for line in lines if line.startswith("flags")), []))


def _compute(build: Build, folder: Path) -> None:
    folder.mkdir()
    threads = {name: str(build.threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    code = f"from bench.kernels import work; work({str(folder)!r}, 0, {SEEDS})"
    environment = {**os.environ, **threads, "OPENBLAS_CORETYPE": build.core}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=3600)


def _figures(folder: Path, builds: list[Build]) -> dict[str, Any]:
    runs, wrong, differing = 0, Counter[str](), 0
    tried, caught, closest = Counter[str](), Counter[str](), dict[str, float]()
    bounds: dict[str, Any] = {}
    for kind in kernels.KINDS:
        for kernel in kernels.KERNELS:
            name = f"{kernel}.{kind}"
            found = {build: np.load(folder / build.name / f"{name}.npy") for build in builds}
            reference = found[REFERENCE][:, 0]
            bound, relative = _fitted(reference, list(found.values()))
            bounds[f"bound_{kernel}_{kind}_eps"] = relative / float(np.finfo(kind).eps)
            for honest, expected in _honest(found, reference):
                runs += 1
                differing += not np.array_equal(honest, expected)
                wrong[name] += bool(closeness.compare(honest, expected, bound).reason)
            for control, made, expected in _controls(kernel, kind, reference):
                tried[control] += 1
                caught[control] += bool(closeness.compare(made, expected, bound).reason)
                closest[control] = min(closest.get(control, math.inf), _times(made, expected, bound))
    drifts, steered, false_alarms, missed = _steering()
    return {
        "runs": runs,
        "runs_that_differ": differing,
        "builds": len(builds),
        "false_slashes": sum(wrong.values()),
        "false_slash_rate": sum(wrong.values()) / runs,
        "false_slash_rate_upper95": _upper95(sum(wrong.values()), runs),
        "false_slashes_by_kernel": dict(+wrong),
        "control_runs": sum(tried.values()),
        **{f"detection_rate_{control}": caught[control] / tried[control] for control in sorted(tried)},
        **{f"closest_{control}_times_bound": times for control, times in sorted(closest.items())},
        "drift_runs": drifts,
        "drift_false_rate": false_alarms / drifts,
        "steered_runs": steered,
        "detection_rate_steering": 1 - missed / steered,
        **bounds,
    }


def _fitted(reference: Array, found: list[Array]) -> tuple[Closeness, float]:
    """Bounds from the seeds that are not counted, and the relative one of them: atol is that of the values' scale."""
    fit = reference[:FIT_SEEDS].astype(np.float64)
    scale = float(np.sqrt(np.mean(fit**2)))
    worst = 0.0
    for values in found:
        others = values[:FIT_SEEDS].astype(np.float64)
        size = np.abs(others - fit[:, None])
        smaller = np.minimum(np.abs(others), np.abs(fit[:, None]))
        worst = max(worst, float((size / (scale + smaller)).max()))
    # Two significant digits, rounded up, as an author would write it.
    relative = MARGIN * worst
    unit = 10.0 ** (math.floor(math.log10(relative)) - 1)
    relative = math.ceil(relative / unit) * unit
    return Closeness(bits(relative * scale), bits(relative), Ppm(0), MAX_BIAS_PPM), relative


def _honest(found: dict[Build, Array], reference: Array) -> Iterator[tuple[Array, Array]]:
    for build, values in found.items():
        for seed in range(FIT_SEEDS, SEEDS):
            for order in range(len(kernels.ORDERS)):
                if (build, order) != (REFERENCE, 0):
                    yield values[seed, order], reference[seed]


def _controls(kernel: str, kind: str, reference: Array) -> Iterator[tuple[str, Array, Array]]:
    """(control, what it comes to, what it should)."""
    for seed in range(FIT_SEEDS, SEEDS):
        x = kernels.inputs(seed, kind)
        for control, way, is_cut in kernels.controls(kernel, kind):
            yield control, kernels.computed(kernel, way, kernels.truncated(x) if is_cut else x), reference[seed]


def _times(made: Array, expected: Array, bound: Closeness) -> float:
    """How many times the tolerance the worst value is off: at most 1 would pass."""
    a, b = made.astype(np.float64), expected.astype(np.float64)
    allowed = amount(bound.atol) + amount(bound.rtol) * np.minimum(np.abs(a), np.abs(b))
    return float((np.abs(a - b) / allowed).max())


def _steering() -> tuple[int, int, int, int]:
    """Runs of 16 training steps, each recomputed from the committed state: honest ones, and steered ones."""
    drifts = steered = false_alarms = missed = 0
    for kind in kernels.KINDS:
        for seed in range(FIT_SEEDS, SEEDS):
            x = kernels.inputs(seed, kind)
            committed = kernels.states(Arithmetic(kind), x)
            again = [kernels.states(Arithmetic(kind, order), x, committed) for order in kernels.ORDERS[1:]]
            runs = [list(zip(committed[1:], states[1:], strict=True)) for states in again]
            tolerance = MARGIN * max(float(np.abs(a - b).max()) for pairs in runs for a, b in pairs)
            signs = np.sign(np.random.default_rng(seed).standard_normal(committed[0].size))
            for pairs in runs:
                drifts += 1
                false_alarms += is_steered(drift(pairs), MAX_COHERENCE)
                steered += 1
                pushed = [((a + PUSH * tolerance * signs).astype(kind), b) for a, b in pairs]
                missed += not is_steered(drift(pushed), MAX_COHERENCE)
    return drifts, steered, false_alarms, missed


def _upper95(hits: int, runs: int) -> float:
    """The upper end of the 95 % interval of a rate; for no hits the rule of three. Source: Wilson (1927)."""
    if hits == 0:
        return 3 / runs
    z, share = 1.96, hits / runs
    middle = share + z * z / (2 * runs)
    return (middle + z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))) / (1 + z * z / runs)


if __name__ == "__main__":
    main()
