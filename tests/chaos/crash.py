"""Kills a node at every durable step that it passes, in whole deals on real parts, and compares each end.

`make chaos-crash` first lives through each scenario undisturbed, which tells what its end is and which points its
processes pass. Then, for every point: the same scenario with a SIGKILL exactly there, a start as a service manager
would, and the same end to the last unit. `make chaos-crash POINTS='transaction.*'` takes a part of the points.
"""

import argparse
import queue
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from fnmatch import fnmatchcase
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final

from bench import report
from bench.shell_image import write_shell_image
from capanode.node.fault_points import Armed
from tests.chaos import passed
from tests.chaos.court_scenarios import IN_COURT
from tests.chaos.court_town import open_court_town
from tests.chaos.crash_town import CrashTown, open_crash_town, open_guild_town, write_broken_image
from tests.chaos.scenarios import FRESH, IN_GUILD, IN_TOWN, Ending, live_through
from tests.chaos.setups import SETUPS, ground_of_setups

SCENARIOS: Final = {**IN_TOWN, **IN_COURT, **IN_GUILD}

TOWNS: Final = 2
COURTS: Final = 2
"""Towns with a court in them, in which a scenario takes twice as long."""

EVERY_PASSAGE: Final = ("transaction.signed", "transaction.broadcast", "replicas.step")
"""Steps that are killed at each time that a deal passes them, not only at the first: each is another effect."""

EVERY_WAY: Final = dict.fromkeys(("lock", "direct", "deposit", "first", "claim", "cancel", "expire", "abandon"), 3) | {
    "cheated": 2,
    "asked": 3,
}
"""In these scenarios, which have every kind of transaction among them, up to so many times each. Before a court a
challenger has two of its own, so has an arbiter; a provider's third is its answer. What is due besides anybody may do.
"""

SENDERS: Final[Mapping[str, Sequence[str]]] = {"cheated": ("provider", "watcher", "arbiter"), "asked": ("provider",)}
"""Who has transactions of its own before a court; whoever else sends one there does what anybody may, or may not."""

WAY_DOWN: Final = (2, 3)
"""Where leaves are withheld, the challenger's transactions on the way from the demand to the answer."""


OF_DISPUTES: Final = "journal.*,transaction.*,evidence.*,trace.*"
"""All that is news of those who have a part in disputes only; what else they pass, others die over too."""

TRIES: Final = 6
"""A point that depends on timing may be missed in one scenario, and then in the next."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One process to be killed at one passage of one point of a scenario."""

    scenario: str
    who: str
    point: str
    passage: int = 1
    place: int = 0
    """Among all that the process has passed there."""

    others: tuple[tuple[str, str], ...] = ()
    """More scenarios and processes that pass the point, for one that depends on timing and is missed."""

    def __str__(self) -> str:
        again = f" ({self.passage})" if self.passage > 1 else ""
        return f"{self.point}{again} of the {self.who} in {self.scenario}"

    @property
    def armed(self) -> Armed:
        return Armed(self.point, self.passage)


@dataclass(slots=True)
class Findings:
    """What all towns have seen; filled from several threads."""

    endings: dict[str, object] = field(default_factory=dict[str, object])
    passed: dict[str, dict[str, list[str]]] = field(default_factory=dict[str, dict[str, list[str]]])
    """By scenario and process, the points in order."""
    took_s: dict[str, float] = field(default_factory=dict[str, float])
    """By scenario, how long it is undisturbed."""
    killed: list[Kill] = field(default_factory=list[Kill])
    mismatches: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def mismatch(self, what: str) -> None:
        with self.lock:
            self.mismatches.append(what)
        say(f"MISMATCH {what}")


SURE: Final[Mapping[str, str]] = {
    "transaction.sent": "slow_chain",
    "transaction.final": "slow_chain",
    "transaction.rebroadcast": "reorganised",
    "addresses.write": "new_provider",
    "evidence.keep": "cheated",
}
"""Steps that other scenarios pass too, if a block comes late, a look early, or a peer is news; killed here."""

CHANCE: Final = frozenset(
    {
        ("provider", "evidence.keep"),
        ("arbiter", "journal.arbiter-voting.VoteCast"),
    }
)
"""What a process does only if it is quicker, or slower, than the others: a watcher keeps evidence in every run, and an
arbiter is told of a vote, its own, in every run.
"""


def say(sentence: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {sentence}", flush=True)


def kind(who: str) -> str:
    """Which of the programs a process is."""
    return {"patron": "requester", "arbiter-1": "arbiter"}.get(who, who)


def kills_of(seen: Mapping[str, Mapping[str, Sequence[str]]], pattern: str) -> list[Kill]:
    """Every point once for each kind of process, in the first scenario that passes it; some at each passage."""
    found: dict[tuple[object, ...], Kill] = {}
    for scenario, processes in seen.items():
        for who, points in processes.items():
            times: Counter[str] = Counter()
            for place, point in enumerate(points):
                times[point] += 1
                step = point.rpartition(":")[0]
                if not _is_any(step, pattern) or (scenario != SURE.get(step, scenario) and SURE[step] in seen):
                    continue
                if (kind(who), step) in CHANCE:
                    continue
                if kind(who) in ("watcher", "arbiter") and not _is_any(step, OF_DISPUTES):
                    continue
                kill = Kill(scenario, who, point, times[point], place)
                if step in EVERY_PASSAGE and _is_another_effect(kill):
                    found.setdefault((scenario, who, point, times[point]), kill)
                elif times[point] == 1:
                    known = found.setdefault((kind(who), point), kill)
                    if (scenario, who) != (known.scenario, known.who):
                        found[kind(who), point] = replace(known, others=(*known.others, (scenario, who)))
    return list(found.values())


def _is_another_effect(kill: Kill) -> bool:
    """Whether a transaction, or a step of a group of replicas, is of a kind that no scenario before has."""
    if kill.scenario in IN_GUILD:
        return kill.point.startswith("replicas.")
    if kill.scenario == "withheld":
        return kill.who == "watcher" and kill.passage in WAY_DOWN
    if kill.scenario in SENDERS and kind(kill.who) not in SENDERS[kill.scenario]:
        return False
    return kill.passage <= EVERY_WAY.get(kill.scenario, 0)


Life = tuple[Kill, ...]
"""Deaths of one process in one life through a scenario, in the order in which it passes their points."""


class Place(Enum):
    """Where a scenario is lived through."""

    TOWN = auto()
    COURT = auto()
    GUILD = auto()
    SETUP = auto()


DEATHS: Final[Mapping[Place, int]] = {Place.TOWN: 2, Place.COURT: 4, Place.GUILD: 4, Place.SETUP: 4}
"""How often a process dies in one life: most where the life is long."""


def place_of(scenario: str) -> Place:
    if scenario in SETUPS:
        return Place.SETUP
    if scenario in IN_GUILD:
        return Place.GUILD
    return Place.COURT if scenario in IN_COURT else Place.TOWN


def lives_of(kills: Sequence[Kill]) -> list[Life]:
    """All kills, a few of one process in each life."""
    found: list[Life] = []
    for (scenario, _), those in groupby(kills, lambda kill: (kill.scenario, kill.who)):
        deaths = DEATHS[place_of(scenario)]
        in_order = sorted(those, key=lambda kill: kill.place)
        found += [tuple(in_order[at : at + deaths]) for at in range(0, len(in_order), deaths)]
    return found


def armed_of(life: Life, points: Sequence[str]) -> list[Armed]:
    """Where a process is to die that has passed these points undisturbed; a passage is counted from the last death."""
    first, *later = life
    return [
        first.armed,
        *(
            Armed(kill.point, points[last.place + 1 : kill.place + 1].count(kill.point))
            for last, kill in zip(life, later, strict=False)
        ),
    ]


def missed_of(life: Life, die: Callable[[Life], int], chances: Callable[[Kill], Iterable[Kill]]) -> list[Kill]:
    """Die at all of these places, and say which nobody came by.

    What is left of a life that ended early is lived through together again, since most of it was missed only because
    the deaths before had changed what followed. Whoever misses the first of it gets the chances one by one.
    """
    missed: list[Kill] = []
    while life:
        if died := die(life):
            life = life[died:]
            continue
        if not any(die((chance,)) for chance in chances(life[0])):
            missed.append(life[0])
        life = life[1:]
    return missed


def _is_any(step: str, patterns: str) -> bool:
    return any(fnmatchcase(step, pattern) for pattern in patterns.split(","))


# ---- in a town -------------------------------------------------------------------------------------------------


def record_in(town: CrashTown, scenario: str, findings: Findings) -> None:
    """Live through a scenario undisturbed."""
    with _cast(town, scenario):
        for node in town.nodes.values():
            node.take_passed()
        started = time.monotonic()
        try:
            ending = live_through(town, SCENARIOS[scenario])
        except Exception as failed:  # told as the mismatch that it is
            findings.mismatch(f"{scenario}, undisturbed: {failed!r}; logs in {town.root}")
            town.spoilt = True
            return
        points = {who: node.take_passed() for who, node in town.nodes.items()}
    with findings.lock:
        findings.endings[scenario] = ending
        findings.took_s[scenario] = time.monotonic() - started
        findings.passed[scenario] = {who: points[who] for who in (ending.buyer, "provider", *town.cast)}
    say(f"{scenario}: {sum(map(len, points.values()))} passages in {time.monotonic() - started:.1f} s")
    if ending.left or ending.odd_exits:
        findings.mismatch(f"{scenario}, undisturbed: left {ending.left}, exits {ending.odd_exits}; logs in {town.root}")


def kill_in(town: CrashTown, life: Life, findings: Findings) -> None:
    """Live through a scenario with these deaths, and compare."""

    def chances(kill: Kill) -> list[Kill]:
        here = place_of(kill.scenario)
        others = [replace(kill, scenario=name, who=who) for name, who in kill.others if place_of(name) is here]
        return [*others, kill, kill][: TRIES - 1]

    for kill in missed_of(life, lambda those: _die(town, those, findings), chances):
        findings.mismatch(f"{kill}: the point was not passed in {TRIES} runs")


def _die(town: CrashTown, life: Life, findings: Findings) -> int:
    """At how many of these places the process has died; at all of them where the scenario came to no end."""
    (scenario, who), deaths = (life[0].scenario, life[0].who), ", ".join(map(str, life))
    with _cast(town, scenario):
        node = town.nodes[who]
        node.arm(*armed_of(life, findings.passed[scenario][who]))
        started = time.monotonic()
        try:
            ending = live_through(town, SCENARIOS[scenario])
        except Exception as failed:  # told as the mismatch that it is
            node.disarm()
            findings.mismatch(f"{deaths}: {failed!r}; logs in {town.root}")
            town.spoilt = True
            return len(life)
        took_s = time.monotonic() - started
        died = life[: len(life) - node.disarm()]
    if not died:
        return 0
    undisturbed = findings.endings[scenario]
    assert isinstance(undisturbed, Ending)
    with findings.lock:
        findings.killed += died
    if differences := ending.differences(undisturbed):
        findings.mismatch(f"{deaths}: {'; '.join(differences)}; logs in {town.root}")
    say(f"{', '.join(map(str, died))}: {took_s:.1f} s")
    return len(died)


def _cast(town: CrashTown, scenario: str) -> AbstractContextManager[object]:
    """The town with a newcomer in one place, where the scenario is about a first start."""
    return town.newcomer(FRESH[scenario]) if scenario in FRESH else nullcontext()


# ---- set-ups, which need no town -------------------------------------------------------------------------------


def record_setup(root: Path, scenario: str, findings: Findings) -> None:
    started = time.monotonic()
    ended = SETUPS[scenario](root, ())
    with findings.lock:
        findings.endings[scenario] = ended.state
        findings.took_s[scenario] = time.monotonic() - started
        findings.passed[scenario] = {ended.who: list(ended.passed)}
    say(f"{scenario}: {len(ended.passed)} passages in {time.monotonic() - started:.1f} s")


def kill_setup(root: Path, life: Life, findings: Findings) -> None:
    """Give a command that dies so."""
    for kill in missed_of(
        life, lambda those: _die_on_the_way(root, those, findings), lambda kill: [kill] * (TRIES - 1)
    ):
        findings.mismatch(f"{kill}: the point was not passed in {TRIES} runs")


def _die_on_the_way(root: Path, life: Life, findings: Findings) -> int:
    """At how many of these places the command has died; at all of them where it came to no end."""
    scenario, deaths = life[0].scenario, ", ".join(map(str, life))
    started = time.monotonic()
    try:
        ended = SETUPS[scenario](root, [kill.armed for kill in life])
    except Exception as failed:  # told as the mismatch that it is
        findings.mismatch(f"{deaths}: {failed!r}; logs in {root}")
        return len(life)
    if not ended.deaths:
        return 0
    died = life[: ended.deaths]
    with findings.lock:
        findings.killed += died
    if ended.state != findings.endings[scenario]:
        findings.mismatch(f"{deaths}: {ended.state} instead of {findings.endings[scenario]}; logs in {root}")
    say(f"{', '.join(map(str, died))}: {time.monotonic() - started:.1f} s")
    return len(died)


# ---- all of it -------------------------------------------------------------------------------------------------


class Crew:
    """Threads that work lists off, each in its own town, some with a court; the last does the set-ups."""

    def __init__(self, root: Path, image: Path, towns: int) -> None:
        self._root = root
        self._image = image
        self._towns = towns
        self._waiting = {place: queue.SimpleQueue[Callable[..., None] | None]() for place in Place}
        self._open = threading.Semaphore(0)
        self.failed: list[BaseException] = []

    def __enter__(self) -> "Crew":
        places = [(f"town-{n}", Place.TOWN, open_crash_town) for n in range(self._towns)]
        places += [(f"court-{n}", Place.COURT, open_court_town) for n in range(COURTS)]
        places.append(("guild", Place.GUILD, open_guild_town))
        self._threads = [threading.Thread(target=self._in_town, args=place) for place in places]
        self._threads.append(threading.Thread(target=self._beside))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for waiting in self._waiting.values():
            if kind is not None:
                # Nothing more of the list after a failure or a Ctrl-C.
                _drain(waiting)
            for _thread in self._threads:
                waiting.put(None)
        for thread in self._threads:
            thread.join()

    def do(self, work: Sequence[tuple[str, Callable[..., None]]]) -> None:
        """Have everything done, each where its scenario is lived through."""
        for scenario, one in work:
            self._waiting[place_of(scenario)].put(one)
        for _ in work:
            self._open.acquire()
            if self.failed:
                raise self.failed[0]

    def _in_town(
        self, name: str, place: Place, opened: Callable[[Path, Path], AbstractContextManager[CrashTown]]
    ) -> None:
        """A town is opened when there is something to do in it, and another after a failure."""
        try:
            with ExitStack() as stack:
                names = (f"{name}-{number}" for number in count())
                town: CrashTown | None = None
                while (deal := self._waiting[place].get()) is not None:
                    if town is None or town.spoilt:
                        stack.close()
                        town = stack.enter_context(opened(self._root / next(names), self._image))
                    deal(town)
                    self._open.release()
        except BaseException as error:  # raised to whoever waits
            self.failed.append(error)
            self._open.release()

    def _beside(self) -> None:
        try:
            with ground_of_setups(self._root / "setups"):
                while (setup := self._waiting[Place.SETUP].get()) is not None:
                    setup(self._root / "setups")
                    self._open.release()
        except BaseException as error:  # raised to whoever waits
            self.failed.append(error)
            self._open.release()


def _drain(waiting: "queue.SimpleQueue[Any]") -> None:
    with suppress(queue.Empty):
        while True:
            waiting.get_nowait()


def chaos(
    root: Path, pattern: str, seed: int, *, scenarios: Sequence[str], most: int | None = None, towns: int = TOWNS
) -> Findings:
    """Record, then kill; `most` bounds the lives, chosen by the seed."""
    findings = Findings()
    image = root / "shell.tar"
    write_shell_image(image)
    write_broken_image(image.with_name("broken.tar"))
    with Crew(root, image, towns) as crew:
        record = {name: record_setup if name in SETUPS else record_in for name in scenarios}
        crew.do([(name, partial(record[name], scenario=name, findings=findings)) for name in scenarios])
        ordered = {name: findings.passed[name] for name in scenarios if name in findings.passed}
        lives = lives_of(kills_of(ordered, pattern))
        random.Random(seed).shuffle(lives)
        # The longest first, so that nobody waits for one of them in the end.
        lives = sorted(lives[:most], key=lambda life: findings.took_s[life[0].scenario], reverse=True)
        say(f"{sum(map(len, lives))} kills in {len(lives)} lives, seed {seed}")
        end = {name: kill_setup if name in SETUPS else kill_in for name in scenarios}
        crew.do([(life[0].scenario, partial(end[life[0].scenario], life=life, findings=findings)) for life in lives])
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", default="*", help="patterns of steps, with commas between")
    parser.add_argument("--scenarios", default="", help="names, with commas between")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--towns", type=int, default=TOWNS)
    chosen = parser.parse_args(arguments)
    names = chosen.scenarios.split(",") if chosen.scenarios else [*SCENARIOS, *SETUPS]
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="capanode-chaos-"))
    say(f"seed {chosen.seed}, logs in {root}")
    findings = chaos(root, chosen.points, chosen.seed, scenarios=names, towns=chosen.towns)
    points = {(kind(kill.who), kill.point.rpartition(":")[0]) for kill in findings.killed}
    report.write(
        "chaos_crash" if chosen.points == "*" and not chosen.scenarios else "chaos_crash_part",
        {
            "points": len(points),
            "kills": len(findings.killed),
            "mismatches": len(findings.mismatches),
            "wall_s": time.monotonic() - started,
            "seed": chosen.seed,
            "scenarios": len(names),
        },
    )
    passed.write(findings.passed)
    for mismatch in findings.mismatches:
        print(f"MISMATCH {mismatch}", file=sys.stderr)
    return 1 if findings.mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
