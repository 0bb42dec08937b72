"""What a command does beside another thing: one fault comes out as itself, whichever half has it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.head import ChainHead, HeadWatch
from capanode.node.journal import Observed, Side, Stored
from capanode.node.performer import NodePerformer, ProviderParts
from capanode.protocol import provider
from capanode.protocol.commands import Command, Prepare, SubmitAssign, SubmitCommit
from capanode.protocol.faults import InvariantViolated, Unavailable
from capanode.protocol.ids import Digest, UnixTime
from tests.protocol.deals import FINISHED, PROVIDER, REFUSED, work_taken

Act = Callable[..., Awaitable[Any]]
WORK = provider.take(work_taken()).deal.work
HEAD = BlockRef(31_337, 7, Digest(b"\x07" * 32), Digest(b"\x06" * 32), UnixTime(1_800_000_000))
CASES: list[tuple[provider.Deal, Command]] = [
    (provider.Assigning(WORK), SubmitAssign()),
    (provider.Committing(WORK, PROVIDER, FINISHED), SubmitCommit()),
]


class Half:
    """A part whose every action is one function."""

    def __init__(self, act: Act) -> None:
        self.stage = self.release = self.assign = self.commit = act

    async def newest_block(self) -> int:
        return HEAD.number


async def done(*_: object) -> Any:
    return None


async def refused(*_: object) -> Any:
    return REFUSED


async def for_ever(*_: object) -> Any:
    await trio.sleep_forever()


async def unavailable(*_: object) -> Any:
    raise Unavailable("it does not answer")


async def broken(*_: object) -> Any:
    raise InvariantViolated("a bug of ours")


async def perform(deal: provider.Deal, command: Command, *, chain: Act, engine: Act) -> Any:
    settlement: Any = Half(chain)
    execution: Any = Half(engine)
    parts = ProviderParts(execution, execution)
    head = HeadWatch()
    head.set(ChainHead(HEAD, HEAD.time))
    performer = NodePerformer(lambda _: settlement, head, requester_side=None, provider_side=parts)
    return await performer.perform(Stored("deal", Side.PROVIDER, deal, 0, 0), command)


@pytest.mark.parametrize(("deal", "command"), CASES)
async def test_the_chains_answer_is_the_commands(deal: provider.Deal, command: Command) -> None:
    """A refusal holds as long as the block that it was made on."""
    assert await perform(deal, command, chain=refused, engine=done) == Observed(REFUSED, HEAD)


@pytest.mark.parametrize(("deal", "command"), CASES)
@pytest.mark.parametrize(
    ("chain", "engine"), [(unavailable, done), (unavailable, for_ever), (for_ever, unavailable), (unavailable,) * 2]
)
async def test_what_does_not_answer_is_asked_again(
    deal: provider.Deal, command: Command, chain: Act, engine: Act
) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await perform(deal, command, chain=chain, engine=engine)


@pytest.mark.parametrize(("deal", "command"), CASES)
@pytest.mark.parametrize(("chain", "engine"), [(broken, unavailable), (unavailable, broken)])
async def test_a_bug_is_not_hidden_by_what_does_not_answer(
    deal: provider.Deal, command: Command, chain: Act, engine: Act
) -> None:
    with pytest.raises(InvariantViolated):
        await perform(deal, command, chain=chain, engine=engine)


async def late(*_: object) -> Any:
    try:
        await trio.sleep_forever()
    finally:
        raise Unavailable("it was asked while it was being called off")


@pytest.mark.parametrize(("deal", "command"), CASES)
async def test_called_off_is_called_off(deal: provider.Deal, command: Command) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await perform(deal, command, chain=for_ever, engine=late)
    assert scope.cancelled_caught


async def test_a_node_without_the_side_says_so() -> None:
    performer = NodePerformer(
        lambda _: Half(done),  # type: ignore[arg-type,return-value]
        HeadWatch(),
        requester_side=None,
        provider_side=None,
    )
    with pytest.raises(InvariantViolated, match="is none any more"):
        await performer.perform(Stored("deal", Side.PROVIDER, provider.Preparing(WORK), 0, 0), Prepare())
