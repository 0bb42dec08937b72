"""Changes one thing after the other in a copy of the contracts, and sees that the players of the invariants notice.

`make mutations` writes bench/out/mutations.json. A mutation that goes unseen is a gap in the invariants: give the
players the move that shows it, or the books the line that it breaks.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench import report

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "contracts" / "src"
COPIED: Final = (
    "foundry.toml",
    "contracts/src",
    "contracts/test/base",
    "contracts/test/invariant",
    "node_modules/@openzeppelin",
)
SEED: Final = "0x0ca9a0de"
AT_A_TIME: Final = 2
SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class Mutation:
    """One place of the contracts, and what stands there instead."""

    name: str
    """What would be so."""

    file: str
    """Below contracts/src."""

    text: str
    instead: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a mutation."""

    mutation: Mutation
    said: str
    """By what the invariants failed; empty when they held."""

    seconds: float


MUTATIONS: Final = (
    Mutation(
        "one vote decides",
        "libraries/Judgement.sol",
        "quorum == 0 ? (2 * seats_ + 2) / 3 : quorum",
        "quorum == 0 ? seats_ / seats_ : quorum",
    ),
    Mutation(
        "who withholds leaves lets the case lapse",
        "DisputeCourt.sol",
        "at == CasePhase.ASKED && late) return Verdict.OVERTURNED",
        "at == CasePhase.ASKED && late) return Verdict.LAPSED",
    ),
    Mutation(
        "a challenger that goes no further wins",
        "DisputeCourt.sol",
        "at == CasePhase.ANSWERED && late) return Verdict.LAPSED",
        "at == CasePhase.ANSWERED && late) return Verdict.OVERTURNED",
    ),
    Mutation(
        "nobody can appeal before a verdict takes effect",
        "DisputeCourt.sol",
        "at == CasePhase.DECIDED && late) return s.verdict()",
        "at == CasePhase.DECIDED) return s.verdict()",
    ),
    Mutation(
        "a lost fraud bond is spent whole",
        "libraries/Judgement.sol",
        "return fraudBond - (2 * fraudBond + 4) / 5",
        "return fraudBond",
    ),
    Mutation(
        "an appeal costs nothing",
        "Committees.sol",
        "_startDrawing(caseId, s);\n        market.pull(msg.sender, amount);",
        "_startDrawing(caseId, s);",
    ),
    Mutation(
        "an appeal in vain comes back",
        "DisputeCourt.sol",
        "if (made.against == verdict) lost += made.amount;\n            else _pay",
        "_pay",
    ),
    Mutation(
        "the bond of one who joined is lost when it is right",
        "DisputeCourt.sol",
        "uint256 due = (i == 0 ? file.bond : _bond(terms)) + gas / count;",
        "uint256 due = (i == 0 ? file.bond : 0) + gas / count;",
    ),
    Mutation(
        "those who joined are forgotten when nobody is right",
        "DisputeCourt.sol",
        "_pay(i == 0 ? file.opener : _challengers[caseId][i].who, bond - lost);",
        "if (i == 0) _pay(file.opener, bond - lost);",
    ),
    Mutation(
        "a copied answer counts",
        "Committees.sol",
        "if (record.shown || Files.hiddenAnswer(caseId, opening, who) != hidden) revert BadOpening();",
        "if (record.shown || (Files.hiddenAnswer(caseId, opening, who) != hidden"
        " && Files.hiddenAnswer(caseId, opening, file.opener) != hidden)) revert BadOpening();",
    ),
    Mutation(
        "a party judges",
        "Committees.sol",
        "parties[2 + i] = i == 0 ? file.opener : _challengers[caseId][i].who;",
        "parties[2 + i] = address(0);",
    ),
    Mutation(
        "anybody votes from any seat",
        "Committees.sol",
        "_requireActingFor(pools.walletAt(pool, taken.position()));",
        "",
    ),
    Mutation(
        "a vote that nobody shares is paid",
        "Committees.sol",
        "if (found != 0 && (finding == 0 || found == finding)) {",
        "if (found != 0) {",
    ),
    Mutation(
        "who does not vote keeps its stake",
        "Committees.sol",
        "burned += fee + pools.penalise(pool, taken.position(), fee);",
        "burned += fee;",
    ),
    Mutation(
        "an overturned deal takes no bond",
        "DealMarket.sol",
        "toCourt = slashed = t.fraudBond();",
        "toCourt = t.fraudBond();",
    ),
    Mutation(
        "a void result costs its requester half",
        "DealMarket.sol",
        "returned -= burned;\n                _burn(burned);",
        "burned = 0;",
    ),
    Mutation(
        "a further case costs no more than the first",
        "DealMarket.sol",
        "uint256 doubled = uint256(base) << open;",
        "uint256 doubled = uint256(base) << (open & 0);",
    ),
    Mutation(
        "every case that is upheld spends the deposit",
        "DealMarket.sol",
        "        if (spend) {\n",
        "        if (spend || true) {\n",
    ),
    Mutation(
        "a claim needs not wait for the window",
        "DealMarket.sol",
        "bool due = s.isAt(Phase.COMMITTED, t.committed()) && block.timestamp > s.deadline();",
        "bool due = s.isAt(Phase.COMMITTED, t.committed());",
    ),
    Mutation(
        "to give up costs nothing",
        "DealMarket.sol",
        "_refund(dealId, t, lockedBy, t.price() / ABANDON_SHARE, 0, ABANDONED);",
        "_refund(dealId, t, lockedBy, 0, 0, ABANDONED);",
    ),
    Mutation(
        "to be late costs what it costs to give up",
        "DealMarket.sol",
        "uint256 slashed = _deadlineBond(t);",
        "uint256 slashed = t.price() / ABANDON_SHARE;",
    ),
    Mutation(
        "a stake leaves that open deals lock",
        "Stakes.sol",
        "amount = _endThaw(_unstakings[msg.sender], account.unlocked());",
        "amount = _endThaw(_unstakings[msg.sender], account.stake());",
    ),
    Mutation(
        "a hot key is never relieved of a deal",
        "Stakes.sol",
        "_hotKeys[provider][lockedBy].locked -= uint48(_units(bonds));",
        "_hotKeys[provider][lockedBy].locked -= 0;",
    ),
    Mutation(
        "an earmark can be taken back and spent",
        "Escrow.sol",
        "mark.earmark = marked.sub(amount).withThaw(0, 0);",
        "mark.earmark = marked.withThaw(0, 0);",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all mutations, or those whose names hold a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--seed", default=SEED, help="of the players' dice; hexadecimal")
    options = parser.parse_args(arguments)
    chosen = tuple(mutation for mutation in MUTATIONS if options.only in mutation.name)
    print(f"{len(chosen)} mutations, seed {options.seed}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="capanode-mutations-") as folder:
        sound = Path(folder) / "sound"
        copy_sources(sound)
        if said := failure_in(sound, options.seed):
            print(f"The contracts as they are fail: {said}", file=sys.stderr)
            return 2
        sound_s = time.monotonic() - started
        print(f"the contracts as they are hold ({sound_s:.0f} s)", flush=True)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            tried = tuple(pool.map(partial(attempt, sound, options.seed), chosen))
    unseen = [one.mutation.name for one in tried if not one.said]
    report.write(
        "mutations_part" if options.only else "mutations",
        {
            "mutations": len(tried),
            "unseen": len(unseen),
            "seed": options.seed,
            "sound_s": sound_s,
            "wall_s": time.monotonic() - started,
            "seconds": {one.mutation.name: round(one.seconds) for one in tried},
            "seen_by": Counter(one.said for one in tried if one.said),
        },
    )
    return 1 if unseen else 0


def mutated(mutation: Mutation, sources: Path = SOURCES) -> str:
    """The text of the mutation's file with it; its place must be there, once."""
    text = (sources / mutation.file).read_text("utf-8")
    if text.count(mutation.text) != 1:
        raise ValueError(f"{mutation.name}: its text stands {text.count(mutation.text)} times in {mutation.file}.")
    return text.replace(mutation.text, mutation.instead)


def copy_sources(folder: Path) -> None:
    """What forge needs to play the invariants in a folder."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)


def attempt(sound: Path, seed: str, mutation: Mutation) -> Tried:
    """Plays the invariants against a copy of what is sound, and compiled, with one mutation."""
    started = time.monotonic()
    folder = sound.with_name(mutation.name.replace(" ", "-"))
    shutil.copytree(sound, folder)
    sources = folder / "contracts" / "src"
    (sources / mutation.file).write_text(mutated(mutation, sources), "utf-8")
    said = failure_in(folder, seed)
    shutil.rmtree(folder)
    seconds = time.monotonic() - started
    print(f"{mutation.name}: {said or 'NOT SEEN'} ({seconds:.0f} s)", flush=True)
    return Tried(mutation, said, seconds)


def failure_in(folder: Path, seed: str) -> str:
    """By what the invariants fail against the contracts there; empty when they hold."""
    command = (str(ROOT / "tools" / "forge"), "test", "--match-contract", "Invariants", "--fail-fast", "--json")
    done = subprocess.run(
        [*command, "--root", str(folder), "--fuzz-seed", seed],
        cwd=folder,
        env=os.environ | {"FOUNDRY_PROFILE": "mutations", "CAPANODE_MUTATED": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    try:
        suites = json.loads(done.stdout)
    except ValueError:
        # What does not compile shows nothing.
        raise RuntimeError(f"forge gave no results: {(done.stdout + done.stderr)[-3000:]}") from None
    failures = tuple(failures_of(suites))
    if not failures and done.returncode != 0:
        raise RuntimeError(f"forge failed, but no test: {done.stderr[-3000:]}")
    return failures[0] if failures else ""


def failures_of(suites: Mapping[str, Mapping[str, Mapping[str, Mapping[str, object]]]]) -> Iterator[str]:
    """The invariants that failed and why, without the figures; a suite that could not begin is an error."""
    for suite in suites.values():
        for test, result in suite["test_results"].items():
            if result["status"] != "Failure":
                continue
            if not test.startswith("invariant_"):
                raise RuntimeError(f"{test} failed before anybody played: {result['reason']}")
            reason = re.split(r": |[(]", str(result["reason"]))[0]
            yield f"{test.removesuffix('()')}: {reason}".removesuffix(": assertion failed")


if __name__ == "__main__":
    sys.exit(main())
