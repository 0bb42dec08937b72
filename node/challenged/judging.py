"""The arbiter's duty: look for oneself, cast, reveal.

What is fetched is bounded by the deal's own rules, and all of it has to be done before the time to vote is over: bytes
that have not come by then are missing, whoever's fault it is, and the vote says so while there is time to say it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog
import trio
from eth_hash.auto import keccak

from capanode.node.chain import court as courts
from capanode.node.chain.case_log import CaseLog
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.orders import Orders
from capanode.node.challenged.briefs import claimed_of
from capanode.node.challenged.checking import Checker, StepCheck, Verdict, is_found_twice
from capanode.node.challenged.committed_trace import CommittedTrace, States
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.keys.signer import Signer
from capanode.proofs.trace import leaf_hash
from capanode.protocol import arbiter
from capanode.protocol.cases import Case, Kind, Vote
from capanode.protocol.events import StepJudged, TransactionRefused
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Address, CaseId, Digest, UnixTime
from capanode.protocol.judging import VerificationClass

SPARE_S: Final = 30
"""Kept of the time to vote for having the vote mined; within a tenth of what is left. Seconds."""

ASK_AGAIN_S: Final = 5.0
"""How long to wait before bytes that were missing are asked for again."""

SALT_TAG: Final = keccak(b"capanode.vote-salt.1")
ROUND_BYTES: Final = 32

log = structlog.get_logger()


class Judging:
    """Carries out what a duty asks for."""

    def __init__(
        self,
        cases: CaseLog,
        checker: Checker,
        states: States,
        head: HeadWatch,
        clock: ChainClock,
        orders: Callable[[Address], Orders],
        signer: Signer,
    ) -> None:
        """`orders` are those of a market's court; `signer` is whom votes are cast by."""
        self._cases = cases
        self._checker = checker
        self._states = states
        self._head = head
        self._clock = clock
        self._orders = orders
        self._signer = signer
        self._unfit = set[CaseId]()

    async def judge(self, state: arbiter.Judging) -> StepJudged:
        """Find out whether what was committed is right; asked again after a reorganisation, it hides it alike.

        Raises:
            Unavailable: this machine cannot say; asked again while there is time.
        """
        seat = state.seat
        filed = await self._cases.find(seat.case_id)
        if filed is None:
            raise Unavailable("The case is not in this node's log yet: waiting for it.")
        left_s = seat.vote_by - self._clock.now()
        judged = _found(Vote.UNAVAILABLE, ZERO_DIGEST, "the bytes could not be had, or not computed with, in time")
        with trio.move_on_after(max(left_s - min(SPARE_S, left_s / 10), 0)) as time:
            judged = await self._judged(filed.case, seat)
        if time.cancelled_caught and seat.case_id in self._unfit:
            # A vote would speak of this machine, and might convict an honest provider.
            raise Unavailable("This machine cannot judge the case, so it stays away.")
        self._unfit.discard(seat.case_id)
        salt = await trio.to_thread.run_sync(vote_salt, self._signer, seat.case_id, seat.round)
        return replace(judged, salt=salt)

    async def _judged(self, case: Case, seat: arbiter.Seat) -> StepJudged:
        while True:
            try:
                trace = await self._checker.trace_of(case.deal_id)
                if case.kind is Kind.DATA:
                    await self._states.of(trace, trace.after(seat.step))
                    return _found(Vote.UPHOLD, ZERO_DIGEST, "the bytes can be had")
                return await self._of_step(trace, case, seat)
            except BytesMissing as missing:
                # Until the time is over: what is away now may be back in a minute.
                log.info("judging-waits", case=seat.case_id.hex(), reason=str(missing))
                await trio.sleep(ASK_AGAIN_S)
            except PeerFault as fault:
                # Other bytes than were committed are as good as none.
                log.info("judging-waits", case=seat.case_id.hex(), reason=str(fault))
                await trio.sleep(ASK_AGAIN_S)
            except Refused as refused:
                self._unfit.add(seat.case_id)
                raise Unavailable(f"This machine cannot judge: {refused}") from refused

    async def _of_step(self, trace: CommittedTrace, case: Case, seat: arbiter.Seat) -> StepJudged:
        """Execute the step. Only what came out twice is anybody's fault: here again, or at a challenger before."""
        claimed = claimed_of(trace, case.kind, seat.step)
        first = await self._checker.check_step(trace, seat.step)
        if first.verdict is Verdict.HOLDS:
            return _found(Vote.UPHOLD, claimed.leaf, "the step leads to what was committed")
        if not _is_shown(trace, case, first):
            again = await self._checker.check_step(trace, seat.step)
            if not is_found_twice(trace, first, again):
                return _found(Vote.UNREPRODUCIBLE, ZERO_DIGEST, "the step leads now to this, now to that")
        return _found(Vote.OVERTURN, _overturning_leaf(trace, first), "the step leads elsewhere")

    async def vote(self, state: arbiter.Voting, market: Address) -> TransactionRefused | None:
        """Cast the hidden vote."""
        seat = state.seat
        data = courts.cast_vote(seat.pool, seat.case_id, seat.number, arbiter.hidden(state))
        return await self._orders(market).insist(_effect(seat), "vote", data)

    async def reveal(self, state: arbiter.Cast, market: Address) -> None:
        """Reveal the vote, once all are cast or the time for casting is over.

        Raises:
            Unavailable: not now.
        """
        seat, judged = state.seat, state.judged
        await self._wait_cast(seat)
        data = courts.reveal_vote(seat.pool, seat.case_id, seat.number, judged.vote, judged.leaf, judged.salt)
        await self._orders(market).eventually(_effect(seat), "reveal", data)

    async def _wait_cast(self, seat: arbiter.Seat) -> None:
        """By the logs, or by the clock."""
        with trio.CancelScope() as waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._after, seat.vote_by, waiting)
                while not await self._is_cast(seat):
                    await self._cases.wait_change()
                nursery.cancel_scope.cancel()

    async def _after(self, at: UnixTime, scope: trio.CancelScope) -> None:
        await self._head.wait_until(at)
        scope.cancel()

    async def _is_cast(self, seat: arbiter.Seat) -> bool:
        filed = await self._cases.find(seat.case_id)
        committees = filed.case.committees if filed is not None else ()
        return any(one.number == seat.round and one.has_all_cast for one in committees)


def _is_shown(trace: CommittedTrace, case: Case, check: StepCheck) -> bool:
    """Whether a challenger has found the same leaf, on a machine of its own, before this one was asked."""
    if check.verdict is not Verdict.DIFFERS:
        return False
    leaf = leaf_hash(trace.found.evidence.deal_id, check.computed)
    return any(one.has_shown and one.answer == leaf for one in case.challengers)


def _overturning_leaf(trace: CommittedTrace, check: StepCheck) -> Digest:
    """The leaf that came out, where leaves are what is compared."""
    evidence = trace.found.evidence
    if evidence.spec.verification is not VerificationClass.EXACT:
        return ZERO_DIGEST
    return leaf_hash(evidence.deal_id, check.computed)


def vote_salt(signer: Signer, case_id: CaseId, round_number: int) -> Digest:
    """What hides a vote: the same each time, and nobody else can make it.

    The transaction that casts a vote is signed once. Where its duty is lost with the journal, and found again on chain,
    the step is judged anew, and what is revealed has to fit what that transaction has cast.
    """
    question = Digest(keccak(SALT_TAG + case_id + round_number.to_bytes(ROUND_BYTES, "big")))
    return Digest(keccak(signer.sign_digest(question)))


def _found(vote: Vote, leaf: Digest, reason: str) -> StepJudged:
    """Not hidden yet."""
    return StepJudged(vote, leaf, ZERO_DIGEST, reason)


def _effect(seat: arbiter.Seat) -> str:
    return f"{seat.case_id.hex()}/{seat.round}"
