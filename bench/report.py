"""The one form of a measurement: a JSON object with its figures, the machine and the time.

It is flat, but for counts by kind, which are an object of their own.
"""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

OUT = Path(__file__).resolve().parent / "out"

Figure = int | float | str | bool | None | Mapping[str, int]


def write(name: str, figures: Mapping[str, Figure]) -> Path:
    """Writes bench/out/<name>.json and prints it. Keys carry their unit; floats are cut to six places."""
    taken = {"machine", "when"} & figures.keys()
    if taken:
        raise ValueError(f"{name} uses the reserved keys {sorted(taken)}: rename them.")
    report = {key: round(value, 6) if isinstance(value, float) else value for key, value in figures.items()}
    report |= {"machine": machine(), "when": datetime.now(UTC).isoformat(timespec="seconds")}
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{name}.json"
    text = json.dumps(report, indent=2)
    path.write_text(text + "\n")
    print(text)
    return path


def machine() -> str:
    """Processor, cores that this process may use, kernel and Python, in one line."""
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}"
    return f"{processor()}, {cores} cores, {system}, Python {platform.python_version()}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
