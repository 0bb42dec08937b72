"""The chain takes back each transaction of a dispute once, and every part of it ends as if it had not."""

import random
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from bench.shell_image import write_shell_image
from capanode.contracts_abi import bindings
from capanode.node.chain.wire import hexadecimal, quantity, read_bytes, read_list, read_object, read_quantity
from tests.chaos.court_town import open_court
from tests.chaos.crash_town import CrashTown
from tests.chaos.reorgs import Reorgs
from tests.chaos.scenarios import appealed, live_through

TRANSACTIONS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "challenge": lambda log: isinstance(log, bindings.Challenged),
    "showAnswer": lambda log: isinstance(log, bindings.AnswerShown),
    "castVote": lambda log: isinstance(log, bindings.VoteCast),
    "revealVote": lambda log: isinstance(log, bindings.VoteRevealed),
    "resolve": lambda log: isinstance(log, bindings.Resolved),
    # The first committee is drawn with the answer, the one after an appeal by a transaction of its own.
    "draw": lambda log: isinstance(log, bindings.Drawn) and log.round == 1,
    "settle": lambda log: isinstance(log, bindings.Settled),
    "payCommittee": lambda log: isinstance(log, bindings.CommitteePaid),
}
"""What of the game's transactions tells them from the others."""

POLL_S: Final = 0.1


@contextmanager
def taking_back(town: CrashTown, reorgs: Reorgs) -> Generator[list[str]]:
    """Whatever happens is taken back once, by kind of transaction; what was taken back so far."""
    taken, is_over, failed = list[str](), threading.Event(), list[BaseException]()

    # A block in which nothing has happened, so that there is always one to begin at.
    town.mine(1)
    since = town.count().block

    def work() -> None:
        try:
            town.run(_take_back, town, reorgs, since, taken, is_over)
        except BaseException as error:  # raised below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()
    if failed:
        raise failed[0]


async def _take_back(town: CrashTown, reorgs: Reorgs, since: int, taken: list[str], is_over: threading.Event) -> None:
    while len(taken) < len(TRANSACTIONS) and not is_over.is_set():
        for block, log in await _logs(town, reorgs, since):
            news = [name for name, is_it in TRANSACTIONS.items() if name not in taken and is_it(log)]
            if news:
                head = read_quantity(await reorgs.rpc.call("eth_blockNumber"))
                await reorgs.once(head - block + 1)
                taken += news
                break
        await trio.sleep(POLL_S)  # the chain tells in no other way


async def _logs(town: CrashTown, reorgs: Reorgs, since: int) -> list[tuple[int, Any]]:
    assert town.contracts.court is not None
    query = {"address": hexadecimal(town.contracts.court), "fromBlock": quantity(since), "toBlock": "latest"}
    rows = [read_object(row) for row in read_list(await reorgs.rpc.call("eth_getLogs", query))]
    return [
        (
            read_quantity(row["blockNumber"]),
            bindings.decode_log([read_bytes(topic) for topic in read_list(row["topics"])], read_bytes(row["data"])),
        )
        for row in rows
    ]


@pytest.mark.timeout(400)
def test_each_transaction_of_a_dispute_is_taken_back_and_the_end_is_the_same(
    tmp_path: Path, dice: random.Random
) -> None:
    image = tmp_path / "shell.tar"
    write_shell_image(image)
    with open_court(tmp_path / "court", image, dice) as (town, reorgs):
        undisturbed = live_through(town, appealed)
        assert (undisturbed.events["Settled"], undisturbed.events["Drawn"]) == (1, 2)
        with taking_back(town, reorgs) as taken:
            ending = live_through(town, appealed)
        assert sorted(taken) == sorted(TRANSACTIONS)
        differences = ending.differences(undisturbed)
        assert not differences, "\n".join(differences)
