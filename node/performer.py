"""Which part of the node carries out which command, in the deal's own market. The only place that knows them all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from capanode.node.announced.submission import Submission
from capanode.node.assigned.preparation import Preparation
from capanode.node.bid.auction import Auction
from capanode.node.chain.head import HeadWatch
from capanode.node.challenged.audits import Audits
from capanode.node.challenged.contests import Contests
from capanode.node.challenged.judging import Judging
from capanode.node.committed.delivery import Collector
from capanode.node.executed.execution import Execution
from capanode.node.journal import Observed, Side, Stored
from capanode.node.paid.settlement import Settlement
from capanode.protocol import arbiter, challenger, provider, requester
from capanode.protocol.commands import (
    AuditResult,
    ChooseNode,
    CollectBids,
    Command,
    DropResult,
    ExpectResult,
    FetchResult,
    JudgeStep,
    KeepResult,
    PlanChallenge,
    PostDemand,
    Prepare,
    RenewDemand,
    RunContainer,
    SendAccept,
    SendAward,
    SubmitAbandon,
    SubmitAccept,
    SubmitAnnounce,
    SubmitAnswer,
    SubmitAssign,
    SubmitCancel,
    SubmitChallenge,
    SubmitClaim,
    SubmitCommit,
    SubmitDescent,
    SubmitExpire,
    SubmitNaming,
    SubmitReveal,
    SubmitVote,
    WakeAt,
)
from capanode.protocol.events import DeadlinePassed, ResultDropped, ResultMissing, TransactionRefused
from capanode.protocol.faults import InvariantViolated
from capanode.protocol.ids import Address
from capanode.protocol.standing import Event

_Claimable = requester.Committed | requester.Withheld | requester.Auditing | requester.Faulty | requester.Delivered
"""Phases in which a requester claims where its provider does not."""


@dataclass(frozen=True, slots=True)
class RequesterParts:
    """What a requester node has."""

    submission: Submission
    auction: Auction
    collector: Collector
    audits: Audits


@dataclass(frozen=True, slots=True)
class ProviderParts:
    """What a provider node has."""

    preparation: Preparation
    execution: Execution


class NodePerformer:
    """Hands each command to the part whose business it is. Parts of a role that the node lacks are None."""

    def __init__(
        self,
        settlement: Callable[[Address], Settlement],
        head: HeadWatch,
        *,
        requester_side: RequesterParts | None,
        provider_side: ProviderParts | None,
        challenges: Contests | None = None,
        duties: Judging | None = None,
    ) -> None:
        self._settlement = settlement
        self._challenges = challenges
        self._duties = duties
        self._head = head
        self._requester = requester_side
        self._provider = provider_side

    async def perform(self, stored: Stored, command: Command) -> Event | Observed | None:
        """As `capanode.node.agent.Performer`."""
        if isinstance(command, WakeAt):
            # By followed blocks: whatever the other side did in time has been applied before.
            return Observed(DeadlinePassed(command.at), await self._head.wait_until(command.at))
        if isinstance(command, ExpectResult) and self._requester is not None:
            block = await self._head.wait_until(command.by)
            return Observed(ResultMissing(command.by, self._requester.collector.trouble(stored.key)), block)
        settlement = self._settlement(stored.market)
        event = await self._carried_out(stored, command, settlement)
        return await self._seen(event, settlement) if isinstance(event, TransactionRefused) else event

    async def _carried_out(self, stored: Stored, command: Command, settlement: Settlement) -> Event | None:
        match stored.side:
            case Side.REQUESTER if self._requester is not None and isinstance(stored.state, requester.Job):
                return await self._for_requester(self._requester, settlement, stored, stored.state, command)
            case Side.PROVIDER if self._provider is not None and isinstance(stored.state, provider.Deal):
                return await self._for_provider(self._provider, settlement, stored.state, command)
            case Side.CHALLENGER if self._challenges is not None and isinstance(stored.state, challenger.State):
                return await _for_challenger(self._challenges, stored.state, command, stored.market)
            case Side.ARBITER if self._duties is not None and isinstance(stored.state, arbiter.State):
                return await _for_arbiter(self._duties, stored.state, command, stored.market)
            case _:
                raise InvariantViolated(f"this node has deals as {stored.side} but is none any more")

    async def _seen(self, refused: TransactionRefused, settlement: Settlement) -> Observed:
        """A refusal holds as long as the block it was made on, and counts once all up to there has been applied."""
        block = await self._head.wait_block(await settlement.newest_block())
        await self._head.wait_applied(block.number)
        return Observed(refused, block)

    async def _for_requester(
        self, parts: RequesterParts, settlement: Settlement, stored: Stored, job: requester.Job, command: Command
    ) -> Event | None:
        match command:
            case SubmitAnnounce() if isinstance(job, requester.Announcing):
                return await settlement.announce(job, parts.submission.locator())
            case RenewDemand() if isinstance(job, requester.Renewing):
                return parts.submission.renew(job.order, stored.market)
            case CollectBids() if isinstance(job, requester.Bidding):
                return await parts.auction.collect(job, stored.market)
            case PostDemand() if isinstance(job, requester.Posted):
                await parts.auction.post(job, stored.market)
            case SendAward() if isinstance(job, requester.Awarding):
                return await parts.auction.hand_over(job, stored.market)
            case SubmitCancel() if isinstance(job, requester.Withdrawing):
                await settlement.cancel(job)
            case SubmitExpire() if isinstance(job, requester.Expiring):
                await settlement.expire(job.deal.deal_id, job.deal.terms, job.deal.locked_by)
            case SubmitClaim() if isinstance(job, _Claimable):
                await settlement.claim(job.deal.terms, job.commitment)
            case FetchResult() if isinstance(job, requester.Committed | requester.Withheld):
                return await parts.audits.drawn(job, await parts.collector.fetch(stored.key, job))
            case FetchResult() if isinstance(job, requester.Challenged | requester.Paid):
                return await parts.collector.fetch(stored.key, job)
            case AuditResult() if isinstance(job, requester.Auditing):
                return await parts.audits.audit(job)
            case SendAccept() if isinstance(job, requester.Delivered):
                await parts.collector.hand_accept(job, stored.market)
            case _:
                raise InvariantViolated(f"{type(command).__name__} does not belong to {type(job).__name__}")
        return None

    async def _for_provider(
        self, parts: ProviderParts, settlement: Settlement, deal: provider.Deal, command: Command
    ) -> Event | None:
        match command:
            case Prepare() if isinstance(deal, provider.Preparing):
                return await parts.preparation.prepare(deal)
            case SubmitAssign() if isinstance(deal, provider.Assigning):
                return await _assign(parts, settlement, deal)
            case RunContainer() if isinstance(deal, provider.Executing):
                return await parts.execution.run(deal)
            case SubmitCommit() if isinstance(deal, provider.Committing):
                return await _commit(parts, settlement, deal)
            case SubmitAbandon() if isinstance(deal, provider.Abandoning):
                async with _beside(parts.execution.release, deal.work):
                    return await settlement.abandon(deal)
            case SubmitExpire() if isinstance(deal, provider.Overdue):
                await settlement.expire(deal.work.deal_id, deal.work.terms, deal.locked_by)
            case SubmitClaim() if isinstance(deal, provider.Claiming):
                await settlement.claim(deal.work.terms, deal.commitment)
            case SubmitAccept() if isinstance(deal, provider.Committed):
                return await settlement.accept(deal)
            case KeepResult() if isinstance(deal, provider.Challenged):
                await parts.execution.keep(deal)
            case DropResult() if isinstance(deal, provider.Retaining | provider.Discarding):
                await parts.execution.drop(deal)
                return ResultDropped()
            case _:
                raise InvariantViolated(f"{type(command).__name__} does not belong to {type(deal).__name__}")
        return None


async def _for_challenger(
    challenges: Contests, state: challenger.State, command: Command, market: Address
) -> Event | None:
    match command:
        case PlanChallenge() if isinstance(state, challenger.Planning):
            return await challenges.plan(state, market)
        case SubmitChallenge() if isinstance(state, challenger.Opening):
            return await challenges.open(state, market)
        case SubmitAnswer() if isinstance(state, challenger.Hidden):
            await challenges.show(state, market)
        case ChooseNode() if isinstance(state, challenger.Choosing):
            return await challenges.choose(state, market)
        case SubmitDescent() if isinstance(state, challenger.Descending):
            return await challenges.descend(state, market)
        case SubmitNaming() if isinstance(state, challenger.Naming):
            return await challenges.name(state, market)
        case _:
            raise InvariantViolated(f"{type(command).__name__} does not belong to {type(state).__name__}")
    return None


async def _for_arbiter(duties: Judging, state: arbiter.State, command: Command, market: Address) -> Event | None:
    match command:
        case JudgeStep() if isinstance(state, arbiter.Judging):
            return await duties.judge(state)
        case SubmitVote() if isinstance(state, arbiter.Voting):
            return await duties.vote(state, market)
        case SubmitReveal() if isinstance(state, arbiter.Cast):
            await duties.reveal(state, market)
        case _:
            raise InvariantViolated(f"{type(command).__name__} does not belong to {type(state).__name__}")
    return None


async def _assign(parts: ProviderParts, settlement: Settlement, deal: provider.Assigning) -> Event | None:
    # The container is made ready while the chain decides; it starts only once the deal is bound.
    async with _beside(parts.execution.stage, deal.work):
        return await settlement.assign(deal)


async def _commit(parts: ProviderParts, settlement: Settlement, deal: provider.Committing) -> Event | None:
    # The result is kept apart already, so the machine is freed while the commitment is mined.
    async with _beside(parts.execution.release, deal.work):
        return await settlement.commit(deal)


@asynccontextmanager
async def _beside(act: Callable[[provider.Work], Awaitable[None]], work: provider.Work) -> AsyncIterator[None]:
    """Do `act` meanwhile. One fault comes out as itself, not in a group: the agent goes by its kind."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(act, work)
            yield
    except BaseExceptionGroup as group:
        errors, called_off = group.split(Exception)
        if errors is None or called_off is not None:
            # What fails while it is being called off does not matter any more.
            raise (called_off or group) from None
        bugs = [error for error in errors.exceptions if isinstance(error, InvariantViolated)]
        raise (bugs or errors.exceptions)[0] from None
