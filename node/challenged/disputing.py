"""Beginning challenges: each after a second look, and only where every endpoint says the same of the deal.

Whatever is said here is said with a bond, which is lost where it does not hold; but for a leaf that speaks against
itself. A challenge has a name by its deal, kind and step, so it is begun once, however often it is seen.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import trio

from capanode.node.agent import Agent
from capanode.node.chain.rpc import Rpc
from capanode.node.challenged.appetite import Appetite
from capanode.node.challenged.briefs import claimed_of, papers_of
from capanode.node.challenged.checking import Checker, StepCheck, Verdict, is_found_twice
from capanode.node.challenged.committed_trace import CommittedTrace, LeafForbidden, LeavesWithheld, StateMissing
from capanode.node.challenged.evidence import BytesMissing, Found, ResultMissing
from capanode.node.challenged.retracing import is_as_committed
from capanode.node.challenged.second_source import agreeing_endpoints
from capanode.node.journal import Side
from capanode.proofs.trace import leaf_hash
from capanode.protocol import challenger
from capanode.protocol.cases import Claimed, Kind, ShownLeaf
from capanode.protocol.events import ChallengeWanted, Contest
from capanode.protocol.faults import PeerFault, Refused
from capanode.protocol.ids import Address, DealId, Digest, Wei

LOOK_AGAIN_S: Final = 10.0
"""After which bytes that were missing are asked for once more."""


class Disputing:
    """Begins the challenges of one wallet."""

    def __init__(
        self,
        agent: Agent,
        checker: Checker,
        rpc: Rpc,
        wallet: Address,
        *,
        bond_wei: Callable[[Address, Wei], Wei],
        open_challenges: Callable[[Address, DealId], Awaitable[int]],
    ) -> None:
        """`bond_wei` says the first bond in a market, for an arbiter's fee; each challenge that is open doubles it."""
        self._agent = agent
        self._checker = checker
        self._rpc = rpc
        self._wallet = wallet
        self._bond_wei = bond_wei
        self._open_challenges = open_challenges

    async def dispute_step(self, deal_id: DealId, step: int, appetite: Appetite) -> tuple[str | None, str]:
        """Challenge a step that somebody says is wrong, if it is; the challenge's key, or why there is none.

        Raises:
            Refused: there is no such step, or this machine cannot judge it.
            BytesMissing, PeerFault, Unavailable: nothing can be said of it.
        """
        trace = await self._checker.trace_of(deal_id)
        found = await self._checker.check_step(trace, step)
        if found.verdict is not Verdict.DIFFERS:
            return None, "computed here, the step leads to what was committed: there is nothing to challenge"
        return await self.dispute(trace, found, appetite)

    async def dispute_whatever(self, deal_id: DealId, step: int, appetite: Appetite) -> tuple[str | None, str]:
        """As `dispute_step`; where the step cannot be looked at, say what stands against it: bytes, leaves, a leaf."""
        try:
            return await self.dispute_step(deal_id, step, appetite)
        except LeafForbidden as wrong:
            return await self.show(wrong, appetite)
        except LeavesWithheld as withheld:
            return await self.dispute_leaves(withheld.found, appetite)
        except (ResultMissing, StateMissing) as missing:
            return await self.dispute_data(deal_id, missing.step, appetite)

    async def dispute(self, trace: CommittedTrace, divergent: StepCheck, appetite: Appetite) -> tuple[str | None, str]:
        """Challenge a step that was found wrong; the challenge's key, or why there is none."""
        evidence = trace.found.evidence
        again = await self._checker.check_step(trace, divergent.index)
        if not is_found_twice(trace, divergent, again):
            return None, "computed once more, the step led elsewhere: nothing is staked on it"
        if objection := await self._unsure(trace.found, appetite):
            return None, objection
        said = self._contest(trace.found, Kind.STEP, divergent.index, _reason(divergent))
        answer = leaf_hash(evidence.deal_id, divergent.computed)
        contest = replace(said, claimed=claimed_of(trace, Kind.STEP, divergent.index), answer=answer)
        return await self.begin(contest, evidence.market, appetite.max_bonds_wei)

    async def dispute_withheld(self, deal_id: DealId, appetite: Appetite) -> tuple[str | None, str]:
        """Force a provider to show leaves that it withholds; as `dispute_leaves`, raises as `dispute_step`."""
        try:
            await self._checker.trace_of(deal_id)
        except LeavesWithheld as withheld:
            return await self.dispute_leaves(withheld.found, appetite)
        return None, "its leaves can be had: `capanode challenge check` says whether its steps hold"

    async def dispute_leaves(self, found: Found, appetite: Appetite) -> tuple[str | None, str]:
        """Demand the leaves of a trace that leads elsewhere than the one computed here; the key, or why there is none.

        Nothing is staked on leaves that are withheld of a trace that is right, nor before they were looked for twice,
        at as many peers as endpoints are asked.
        """
        evidence = found.evidence
        if len(found.sources) < appetite.min_sources:
            return None, f"{appetite.min_sources} peers have to be asked for the leaves before a bond is put up"
        ours = await self._checker.retracing.retrace(found)
        if ours is None:
            return None, "computed once more, its trace led elsewhere: nothing is staked on it"
        if is_as_committed(ours, found):
            return None, "computed here, its trace leads to the committed root: there is nothing to challenge"
        try:
            await self._checker.trace_of(evidence.deal_id)
        except LeavesWithheld as withheld:
            reason = str(withheld)
        else:
            return None, "its leaves can be had by now: check it again"
        if objection := await self._unsure(found, appetite):
            return None, objection
        contest = self._contest(found, Kind.WITHHELD, 0, reason)
        return await self.begin(contest, evidence.market, appetite.max_bonds_wei)

    async def dispute_data(self, deal_id: DealId, step: int, appetite: Appetite) -> tuple[str | None, str]:
        """Say that the state after a step cannot be had, if it cannot, now and after a while; the key, or why not.

        Whoever says so loses its bond where the drawn arbiters get the bytes.

        Raises:
            Refused: there is no such step.
            BytesMissing: not even the deal's papers can be had, without which nothing can be said on chain.
            Unavailable: the chain does not answer.
        """
        first = await self._missing(deal_id, step)
        if first is None:
            return None, "the bytes of that state can be had: there is nothing to challenge"
        if len(first.sources) < appetite.min_sources:
            return None, f"{appetite.min_sources} peers have to be asked for the bytes before a bond is put up"
        await trio.sleep(LOOK_AGAIN_S)
        if await self._missing(deal_id, step) is None:
            return None, "the bytes of that state can be had by now"
        if objection := await self._unsure(first, appetite):
            return None, objection
        contest = self._contest(first, Kind.DATA, step, f"the bytes of the state after step {step} cannot be had")
        return await self.begin(contest, first.evidence.market, appetite.max_bonds_wei)

    async def _missing(self, deal_id: DealId, step: int) -> Found | None:
        """The deal, if the state after a step of it cannot be had; other bytes are as good as none."""
        try:
            trace = await self._checker.trace_of(deal_id)
        except (LeavesWithheld, ResultMissing) as missing:
            return _with_step(missing.found, step)
        _with_step(trace.found, step)
        try:
            await self._checker.states.of(trace, trace.after(step))
        except (BytesMissing, PeerFault):
            return trace.found
        return None

    async def dispute_missing(self, contest: Contest, market: Address, appetite: Appetite) -> tuple[str | None, str]:
        """Say that a result never came: by a leaf that speaks against itself, where one is why; else with a bond."""
        with trio.move_on_after(LOOK_AGAIN_S):
            try:
                await self._checker.trace_of(contest.papers.deal_id)
            except LeafForbidden as wrong:
                return await self.show(wrong, appetite)
            except (BytesMissing, PeerFault, Refused):
                pass  # as was to be expected
        return await self.begin(contest, market, appetite.max_bonds_wei)

    async def expose(self, deal_id: DealId, position: int, appetite: Appetite) -> tuple[str | None, str]:
        """Show the court a leaf that says what none may; takes no bond.

        Raises:
            Refused, BytesMissing, PeerFault, Unavailable: as `dispute_step`.
        """
        try:
            await self._checker.trace_of(deal_id)
        except LeafForbidden as wrong:
            if wrong.leaf.position == position:
                return await self.show(wrong, appetite)
            return None, f"the leaf to show is the one at position {wrong.leaf.position}: {wrong}"
        return None, "none of its leaves says what it may not: there is nothing to show"

    async def show(self, wrong: LeafForbidden, appetite: Appetite) -> tuple[str | None, str]:
        """As `expose`, of a leaf that was found."""
        found, proved = wrong.found, wrong.leaf
        if objection := await self._unsure(found, appetite):
            return None, objection
        leaf = proved.leaf
        shown = ShownLeaf(leaf.index, leaf.state_root, leaf.exit_code, leaf.stdout_root, leaf.done)
        claimed = Claimed(leaf_hash(found.evidence.deal_id, leaf), proved.siblings)
        contest = replace(self._contest(found, Kind.SPEC, proved.position, str(wrong)), claimed=claimed, shown=shown)
        return await self.begin(contest, found.evidence.market, appetite.max_bonds_wei)

    def _contest(self, found: Found, kind: Kind, step: int, reason: str) -> Contest:
        """What is said of a deal; the answer is no leaf, so that it says no more than that."""
        return Contest(
            papers=papers_of(found.evidence),
            kind=kind,
            step=step,
            claimed=Claimed(),
            answer=Digest(secrets.token_bytes(32)),
            salt=Digest(secrets.token_bytes(32)),
            challenger=self._wallet,
            window_ends_at=found.slot.deadline,
            reason=reason[:500],
        )

    async def _unsure(self, found: Found, appetite: Appetite) -> str:
        """Why no bond is put on a deal yet; empty where every endpoint says the same of it."""
        evidence = found.evidence
        sources = await agreeing_endpoints(self._rpc, evidence.market, evidence.deal_id)
        if sources < appetite.min_sources:
            return f"{appetite.min_sources} endpoints have to say the same before a bond is put up: add another"
        return ""

    async def begin(self, contest: Contest, market: Address, max_bonds_wei: Wei) -> tuple[str | None, str]:
        """Begin a challenge, once for a deal and a step; its key, or why there is none."""
        key = f"challenge-{contest.papers.deal_id.hex()}-{contest.kind.name.lower()}-{contest.step}"
        due_wei = self._bond_of(contest, market)
        if due_wei:
            due_wei = Wei(due_wei << await self._open_challenges(market, contest.papers.deal_id))
        admitted = await self._agent.challenge(
            key, ChallengeWanted(contest), lambda: self.bonds_wei() + due_wei <= max_bonds_wei, market
        )
        return (key, contest.reason) if admitted else (None, "the budget for bonds is used up")

    def bonds_wei(self) -> Wei:
        """What open challenges have at stake, or are about to."""
        return Wei(
            sum(
                self._at_stake(stored.state, stored.market)
                for stored in self._agent.open_deals()
                if stored.side is Side.CHALLENGER and isinstance(stored.state, challenger.State)
            )
        )

    def _at_stake(self, state: challenger.State, market: Address) -> Wei:
        match state:
            case challenger.Planning() | challenger.Opening() | challenger.Exposed() | challenger.Withdrawn():
                return self._bond_of(state.contest, market)
            case _ if state.case.opener == self._wallet:
                return state.case.bond_wei
            case _:
                # Who joins a case puts down as much as one that is alone.
                return self._bond_of(state.contest, market)

    def _bond_of(self, contest: Contest, market: Address) -> Wei:
        """What is locked; showing a leaf takes nothing."""
        if contest.kind is Kind.SPEC:
            return Wei(0)
        return self._bond_wei(market, contest.papers.rules.arbiter_fee_wei)


def _with_step(found: Found, step: int) -> Found:
    evidence = found.evidence
    if not evidence.first_step <= step < evidence.first_step + evidence.step_count:
        last = evidence.first_step + evidence.step_count - 1
        raise Refused(f"the deal has the steps {evidence.first_step} to {last}, and no step {step}")
    return found


def _reason(divergent: StepCheck) -> str:
    found = [*divergent.reasons, *(f"{path}: {why}" for path, why in divergent.findings)]
    return f"step {divergent.index} leads elsewhere ({'; '.join(found[:3])})"[:500]
