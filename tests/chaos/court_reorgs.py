"""The chain takes back each transaction of a dispute, and every part of it ends as if it had not.

Each goes twice: first the node has to send it again, then it comes again by itself, in a later block. A game is a
scenario that is lived through twice in one town, undisturbed and with this.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import trio

from bench import report
from bench.shell_image import write_shell_image
from capanode.contracts_abi import bindings
from capanode.node.chain.wire import hexadecimal, quantity, read_bytes, read_list, read_object, read_quantity
from capanode.protocol.cases import Verdict
from tests.chaos.court_scenarios import (
    JOINED_BLOCKS,
    appealed,
    audited,
    contested,
    exposed,
    joined,
    questioned,
    redrawn,
    retargeted,
    withheld,
)
from tests.chaos.court_town import PLAIN, CourtPlan, open_court
from tests.chaos.crash_town import PATIENCE_S, CrashTown
from tests.chaos.reorgs import Reorgs
from tests.chaos.scenarios import Scenario, live_through


@dataclass(frozen=True, slots=True)
class Played:
    """How often each kind of transaction was taken back in a game, and what was not as it must be."""

    taken: Mapping[str, int]
    mismatches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A transaction of the game, by what the court logs in it. Nobody but a node sends its own again."""

    is_in: Callable[[Sequence[Any]], bool]
    of_a_node: bool = True

    @property
    def times(self) -> int:
        """How often it is taken back."""
        return 2 if self.of_a_node else 1


def logs(kind: type, *, of_a_node: bool = True, **fields: object) -> Move:
    """The transaction with such a log."""

    def is_in(found: Sequence[Any]) -> bool:
        return any(
            isinstance(log, kind) and all(getattr(log, name) == value for name, value in fields.items())
            for log in found
        )

    return Move(is_in, of_a_node)


def only_draws_again(found: Sequence[Any]) -> bool:
    """Whether a transaction does nothing but choose another block to draw by."""
    return all(isinstance(log, bindings.Drawing) for log in found)


@dataclass(frozen=True, slots=True)
class Game:
    """A scenario, what of it is taken back, and what the court logs in it."""

    scenario: Scenario
    moves: Mapping[str, Move]
    logged: Mapping[str, int]
    plan: CourtPlan = PLAIN


SHOWN: Final[Mapping[str, Move]] = {"showAnswer": logs(bindings.AnswerShown)}

JUDGED: Final[Mapping[str, Move]] = {
    "castVote": logs(bindings.VoteCast),
    "revealVote": logs(bindings.VoteRevealed),
    "resolve": logs(bindings.Resolved),
    "settle": logs(bindings.Settled),
    "payCommittee": logs(bindings.CommitteePaid),
}
"""Before a committee."""

GAMES: Final[Mapping[str, Game]] = {
    "appealed": Game(
        appealed,
        {
            **SHOWN,
            **JUDGED,
            "challenge": logs(bindings.Challenged),
            "appeal": logs(bindings.Appealed, of_a_node=False),
            # The first committee is drawn with the answer, the one after an appeal by a transaction of its own.
            "draw": logs(bindings.Drawn, round=1),
        },
        {"Settled": 1, "Drawn": 2},
    ),
    "withheld": Game(
        withheld,
        {
            **SHOWN,
            **JUDGED,
            "demandLeaves": logs(bindings.Asked, index=0),
            "answerLeaves": logs(bindings.Answered),
            "descend": Move(lambda found: any(isinstance(log, bindings.Asked) and log.index > 0 for log in found)),
            "nameStep": logs(bindings.StepNamed),
        },
        {"Asked": 2, "Answered": 2, "StepNamed": 1, "Settled": 2},
    ),
    "questioned": Game(
        questioned,
        {
            "demandLeaves": logs(bindings.Asked, of_a_node=False),
            "answerLeaves": logs(bindings.Answered),
            "settle, lapsed": logs(bindings.Settled, verdict=Verdict.LAPSED),
            "settle, silent": logs(bindings.Settled, verdict=Verdict.OVERTURNED),
        },
        {"Asked": 2, "Answered": 1, "Settled": 2},
    ),
    "joined": Game(
        joined,
        {
            "challenge": logs(bindings.Challenged),
            "join": logs(bindings.Joined),
            "showAnswer, first": logs(bindings.AnswerShown, index=0),
            "showAnswer, second": logs(bindings.AnswerShown, index=1),
            "settle": logs(bindings.Settled),
        },
        {"Challenged": 1, "Joined": 1, "AnswerShown": 2, "Settled": 1},
        CourtPlan(join_blocks=JOINED_BLOCKS),
    ),
    "redrawn": Game(
        redrawn,
        {
            "resolve, without a majority": Move(only_draws_again),
            "draw, again": logs(bindings.Drawn, round=1),
            "payCommittee, of the absent": logs(bindings.CommitteePaid, round=0),
        },
        {"Drawing": 1, "Drawn": 2, "Settled": 1},
    ),
    "retargeted": Game(
        retargeted,
        {
            "appeal": logs(bindings.Appealed, of_a_node=False),
            "retarget": Move(only_draws_again),
            "draw, late": logs(bindings.Drawn, round=1),
        },
        {"Drawing": 2, "Drawn": 2, "Settled": 1},
    ),
    "contested": Game(
        contested,
        {
            "resolve, wrongly": logs(bindings.Resolved, round=0),
            "appeal": logs(bindings.Appealed),
            "draw": logs(bindings.Drawn, round=1),
            "resolve": logs(bindings.Resolved, round=1),
        },
        {"Appealed": 1, "Drawn": 2, "Settled": 1},
        CourtPlan(arbiter="tests.chaos.misled"),
    ),
    "exposed": Game(
        exposed,
        {"challengeSpec": logs(bindings.Settled)},
        {"Settled": 1},
        CourtPlan(provider="tests.chaos.forger"),
    ),
    "audited": Game(
        audited,
        {
            "beginAudit": logs(bindings.Challenged),
            "draw, by lot": logs(bindings.Drawn),
            "settle": logs(bindings.Settled),
            "payCommittee": logs(bindings.CommitteePaid),
        },
        {"Challenged": 1, "Drawn": 1, "Settled": 1},
        CourtPlan(begin_audits=True),
    ),
}

POLL_S: Final = 0.1


@contextmanager
def taking_back(town: CrashTown, reorgs: Reorgs, moves: Mapping[str, Move]) -> Generator[Counter[str]]:
    """Whatever happens is taken back, by kind of transaction; how often each was so far."""
    taken, is_quiet, is_over, failed = Counter[str](), threading.Event(), threading.Event(), list[BaseException]()

    # A block in which nothing has happened, so that there is always one to begin at.
    town.mine(1)
    since = town.count().block

    def work() -> None:
        try:
            town.run(_take_back, town, reorgs, moves, since, taken, is_quiet, is_over)
        except BaseException as error:  # raised below
            failed.append(error)
            is_quiet.set()

    def wait_quiet() -> None:
        # The first look may have begun before whatever has just come.
        for _ in range(2):
            is_quiet.clear()
            assert is_quiet.wait(PATIENCE_S), f"what was taken back has not come again: {taken}"

    thread = threading.Thread(target=work)
    thread.start()
    town.before_time_passes = wait_quiet
    try:
        yield taken
    finally:
        town.before_time_passes = lambda: None
        is_over.set()
        thread.join()
    if failed:
        raise failed[0]


async def _take_back(
    town: CrashTown,
    reorgs: Reorgs,
    moves: Mapping[str, Move],
    since: int,
    taken: Counter[str],
    is_quiet: threading.Event,
    is_over: threading.Event,
) -> None:
    while not is_over.is_set():
        head = read_quantity(await reorgs.rpc.call("eth_blockNumber"))
        left = {name: move for name, move in moves.items() if taken[name] < move.times}
        logged = await _logs(town, reorgs, since)
        seen = [(block, name) for block, found in logged for name in left if left[name].is_in(found)]
        # Nobody would send it again.
        foreign = [
            block for block, found in logged if any(move.is_in(found) for move in moves.values() if not move.of_a_node)
        ]
        if not seen and not any(taken[name] for name in left):
            is_quiet.set()
        for block, name in seen:
            returns = taken[name] == left[name].times - 1 or any(block <= one for one in foreign)
            # What comes again in a later block needs a later one.
            if block < head or not returns:
                await reorgs.replace(block, returns=returns)
                taken[name] += 1
                break
        await trio.sleep(POLL_S)  # the chain tells in no other way


async def _logs(town: CrashTown, reorgs: Reorgs, since: int) -> list[tuple[int, list[Any]]]:
    """What the court has logged, by transactions and their blocks."""
    assert town.contracts.court is not None
    query = {"address": hexadecimal(town.contracts.court), "fromBlock": quantity(since), "toBlock": "latest"}
    rows = [read_object(row) for row in read_list(await reorgs.rpc.call("eth_getLogs", query))]
    return [
        (read_quantity(block), [_decoded(row) for row in those])
        for (block, _), those in groupby(rows, lambda row: (row["blockNumber"], row["transactionHash"]))
    ]


def _decoded(row: Mapping[str, Any]) -> Any:
    return bindings.decode_log([read_bytes(topic) for topic in read_list(row["topics"])], read_bytes(row["data"]))


def play(name: str, root: Path, dice: random.Random) -> Played:
    """Live through one game in a town of its own."""
    game = GAMES[name]
    image = root / "shell.tar"
    write_shell_image(image)
    with open_court(root / name, image, dice, game.plan) as (town, reorgs):
        undisturbed = live_through(town, game.scenario)
        with taking_back(town, reorgs, game.moves) as taken:
            ending = live_through(town, game.scenario)
    mismatches = [
        f"{event}: {undisturbed.events.get(event, 0)} times"
        for event, times in game.logged.items()
        if undisturbed.events.get(event, 0) != times
    ]
    mismatches += [
        f"{kind}: taken back {taken[kind]} times" for kind, move in game.moves.items() if taken[kind] != move.times
    ]
    return Played(dict(taken), (*mismatches, *ending.differences(undisturbed)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play all games, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", default=",".join(GAMES), help="names, with commas between")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args(arguments)
    started, taken, mismatches = time.monotonic(), Counter[str](), list[str]()
    root = Path(tempfile.mkdtemp(prefix="capanode-chaos-"))
    print(f"seed {chosen.seed}, logs in {root}", flush=True)
    for game in chosen.games.split(","):
        try:
            played = play(game, root, random.Random(chosen.seed))
        except Exception as failed:  # told as the mismatch that it is
            played = Played({}, (repr(failed),))
        taken.update(played.taken)
        mismatches += (f"{game}: {what}" for what in played.mismatches)
        print(f"{game}: {sum(played.taken.values())} taken back, {len(played.mismatches)} mismatches", flush=True)
    for mismatch in mismatches:
        print(f"MISMATCH {mismatch}")
    whole = set(chosen.games.split(",")) == set(GAMES)
    report.write(
        "chaos_disputes" if whole else "chaos_disputes_part",
        {
            "games": len(chosen.games.split(",")),
            "kinds": len(taken),
            "taken_back": sum(taken.values()),
            "taken": taken,
            "mismatches": len(mismatches),
            "wall_s": time.monotonic() - started,
            "seed": chosen.seed,
        },
    )
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
