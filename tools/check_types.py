"""Runs mypy and pyright and counts the files they saw: both report success when they found nothing."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("contracts_abi", "node", "proofs", "protocol", "scheduler")
OTHERS = ("bench", "demo", "tests", "tools")


def main() -> None:
    packaged = count_modules("src/capanode", PACKAGES)
    everything = packaged + sum(1 for folder in OTHERS for _ in (ROOT / folder).rglob("*.py"))
    with ThreadPoolExecutor() as pool:
        checks = [pool.submit(check_mypy, everything), pool.submit(check_pyright, packaged)]
    problems = [problem for check in checks for problem in check.result()]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        raise SystemExit(1)
    print(f"mypy saw {everything} files, pyright {packaged}; both are content")


def count_modules(real_folder: str, linked_folders: tuple[str, ...]) -> int:
    own = sum(1 for _ in (ROOT / real_folder).glob("*.py"))
    return own + sum(1 for folder in linked_folders for _ in (ROOT / folder).rglob("*.py"))


def check_mypy(floor: int) -> list[str]:
    done = run(sys.executable, "-m", "mypy", "--no-color-output")
    if done.returncode != 0:
        return [done.stdout + done.stderr]
    seen = re.search(r"no issues found in (\d+) source files?", done.stdout)
    return too_few("mypy", int(seen[1]) if seen else 0, floor)


def check_pyright(floor: int) -> list[str]:
    done = run("tools/node", "node_modules/pyright/index.js", "--outputjson", "--pythonpath", sys.executable)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return [f"pyright gave no report:\n{done.stdout}{done.stderr}"]
    if done.returncode != 0:
        return [sentence(found) for found in report["generalDiagnostics"] if found["severity"] == "error"]
    return too_few("pyright", int(report["summary"]["filesAnalyzed"]), floor)


def sentence(found: dict[str, object]) -> str:
    position = found["range"]["start"]  # type: ignore[index]
    file = Path(str(found["file"])).relative_to(ROOT)
    return f"{file}:{position['line'] + 1}: {found['message']} [{found.get('rule', 'syntax')}]"


def too_few(checker: str, seen: int, floor: int) -> list[str]:
    if seen >= floor:
        return []
    return [f"{checker} saw {seen} of {floor} files: name the missing folders in pyproject.toml."]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


if __name__ == "__main__":
    main()
