"""`make test-attacks`: the named attacks on verification, each with the test that holds it.

A test holds an attack by its name: `test_AttackNN_…` in Solidity, `test_attack_NN_…` under tests/attacks. An attack
without a test is a failure, as is one whose test fails or does not run.
"""

import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LIST: Final = ROOT / "docs" / "attacks.md"

_ROW: Final = re.compile(r"\| *(\d+) *\| *(.+?) *\|")
_NAME: Final = re.compile(r"test_(?:fuzz_)?[Aa]ttack_?(\d+)_")


@dataclass(frozen=True, slots=True)
class Held:
    """One test that ran, and the attack that it is about."""

    attack: int
    test: str
    passed: bool


def main() -> None:
    """Run them all and print the list; the exit code is 1 unless each attack is held."""
    attacks = listed(LIST.read_text("utf-8"))
    found = defaultdict[int, list[Held]](list)
    for held in (*in_solidity(), *in_python()):
        found[held.attack].append(held)
    print("\n".join(table(attacks, found)))
    missing = tuple(number for number in attacks if not found[number])
    failed = tuple(number for number in attacks if any(not held.passed for held in found[number]))
    strange = tuple(number for number in found if number not in attacks)
    print(f"\n{len(attacks)} attacks, {len(attacks) - len(missing) - len(failed)} held.")
    for numbers, what in ((missing, "have no test"), (failed, "get through"), (strange, "are not in docs/attacks.md")):
        if numbers:
            print(f"Attacks that {what}: {', '.join(map(str, sorted(numbers)))}.", file=sys.stderr)
    sys.exit(1 if missing or failed or strange else 0)


def listed(text: str) -> dict[int, str]:
    """The attacks of the page, by number."""
    return {int(row[1]): row[2] for row in map(_ROW.match, text.splitlines()) if row}


def attack_of(test: str) -> int | None:
    """The attack that a test is named after."""
    found = _NAME.match(test)
    return int(found[1]) if found else None


def table(attacks: Mapping[int, str], found: Mapping[int, Sequence[Held]]) -> Iterator[str]:
    """One line for each attack, and one for each of its tests."""
    for number, sentence in attacks.items():
        yield f"{number:3} {sentence}"
        for held in found.get(number, ()):
            yield f"      {'held' if held.passed else 'FAILED'}  {held.test}"
        if not found.get(number):
            yield "      MISSING"


def in_solidity() -> Iterator[Held]:
    """What forge says of the contracts' attack tests."""
    done = _run("tools/forge", "test", "--json", "--match-test", "test_(fuzz_)?Attack")
    if not done.stdout.strip().startswith("{"):
        sys.exit(f"forge gave no report: see `make contracts-test`.\n{done.stderr[-2000:]}")
    for suite, report in json.loads(done.stdout).items():
        for signature, result in report["test_results"].items():
            attack = attack_of(signature)
            if attack is not None:
                yield Held(attack, f"{suite}:{signature.partition('(')[0]}", result["status"] == "Success")


def in_python() -> Iterator[Held]:
    """What pytest says of the tests under tests/attacks."""
    if not (ROOT / "tests" / "attacks").is_dir():
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = _run(sys.executable, "-m", "pytest", "-q", "tests/attacks", f"--junitxml={report}")
        if not report.exists():
            sys.exit(f"pytest gave no report.\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = ElementTree.parse(report).iter("testcase")  # noqa: S314  # written by the line above
        outcomes = defaultdict[str, list[bool]](list)
        for case in cases:
            name = case.attrib["name"].partition("[")[0]
            outcomes[f"{case.attrib['classname']}:{name}"].append(len(case) == 0)
    for test, passed in outcomes.items():
        attack = attack_of(test.partition(":")[2])
        if attack is not None:
            yield Held(attack, test, all(passed))


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
