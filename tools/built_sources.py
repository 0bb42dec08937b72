#!/usr/bin/env python3
"""What forge has made of the contracts, in the project's own folder: the checks that read it share one compilation.

`tools/built_sources.py FOLDER` copies into the folder what the compiler was given and what it said.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / "contracts" / "cache" / "solidity-files-cache.json"
OUT: Final = ROOT / "contracts" / "out"
SOURCES: Final = "contracts/src"
OF_TESTS: Final = "tests"
"""The compiler's settings for tests, which sources that tests import are compiled by as well."""


@dataclass(frozen=True, slots=True)
class BuiltSources:
    """What was compiled as it is for production, each file with all others of its settings."""

    artifacts: dict[str, Path]
    """By the contract's name."""

    compilations: frozenset[Path]
    """What the compiler was given and what it said."""


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for compilation in built().compilations:
        shutil.copy2(compilation, folder)


def built() -> BuiltSources:
    """Build what is not built yet, and all of it when it would be in pieces otherwise.

    Raises:
        subprocess.CalledProcessError: the compiler refuses it, as it has said.
        RuntimeError: forge keeps its books in another way.
    """
    for extent in ([], ["--force"]):
        command = [str(ROOT / "tools" / "forge"), "build", "--quiet", "--build-info", *extent, SOURCES]
        subprocess.run(command, cwd=ROOT, check=True)
        if (found := _noted()) is not None:
            return found
    raise RuntimeError(f"forge has built the contracts in pieces: look at {CACHE.relative_to(ROOT)}.")


def _noted() -> BuiltSources | None:
    """What forge has noted; None when files of the same settings were compiled at different times."""
    artifacts: dict[str, Path] = {}
    compilations: dict[str, Path] = {}
    for settings, name, note in _notes():
        artifacts[name] = OUT / note["path"]
        compilation = OUT / "build-info" / f"{note['build_id']}.json"
        if compilations.setdefault(settings, compilation) != compilation:
            return None
    if not all(path.exists() and "input" in json.loads(path.read_bytes()) for path in compilations.values()):
        return None
    return BuiltSources(artifacts, frozenset(compilations.values()))


def _notes() -> list[tuple[str, str, dict[str, Any]]]:
    """Settings, contract and note, for each that stands in the sources."""
    files: dict[str, Any] = json.loads(CACHE.read_bytes())["files"]
    return [
        (settings, name, note)
        for file, known in files.items()
        if file.startswith(f"{SOURCES}/")
        for name, versions in known["artifacts"].items()
        for by_settings in versions.values()
        for settings, note in by_settings.items()
        if settings != OF_TESTS
    ]


if __name__ == "__main__":
    main()
