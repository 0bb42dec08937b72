"""The checkout that the tooling tests look at."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = ("contracts_abi", "node", "proofs", "protocol", "scheduler")
"""The folders with code, each linked as src/capanode/<folder>."""

PURE = ("proofs", "protocol", "scheduler")


def source_files() -> list[Path]:
    """Every file that a clone holds or will hold, relative to the root: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    return sorted(file for file in files if (ROOT / file).is_symlink() or (ROOT / file).exists())


def text_files() -> list[tuple[Path, str]]:
    """Those of the source files that are text, with their text."""
    found = []
    for file in source_files():
        if (ROOT / file).is_symlink():
            continue
        try:
            found.append((file, (ROOT / file).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def copy_to(folder: Path) -> Path:
    """A clean copy of the checkout, with its links and without what was built in it."""
    for file in source_files():
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target, follow_symlinks=False)
    return folder
