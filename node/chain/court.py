"""The dispute court as a node reads it and speaks to it: views, calldata, and its logs as events of cases.

Nothing here sends. Each call is built from a deal's papers, a case as its logs have left it, and what the caller has of
its own; the court compares all of it with the few words that it keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import BlockTag, View, read
from capanode.node.paid.settlement import abi_terms
from capanode.proofs.trace import commitment_digest
from capanode.protocol import cases
from capanode.protocol.cases import (
    Case,
    CaseEvent,
    CaseOpened,
    CasePhase,
    Claimed,
    Kind,
    Papers,
    ShownLeaf,
    Verdict,
    Vote,
)
from capanode.protocol.due import CourtClocks
from capanode.protocol.ids import Address, CaseId, Digest, SpecDigest, TxHash, UnixTime, Wei
from capanode.protocol.judging import CLASS_NUMBERS, Rules, steps_word


class Duty(IntEnum):
    """Where an arbiter of a pool stands. Source: `Duty` in IPools.sol."""

    NONE = 0
    WAITING = 1
    ACTIVE = 2
    LEAVING = 3


@dataclass(frozen=True, slots=True)
class CaseState:
    """All that the chain keeps of a case; `time` is a block number while a draw is awaited, else a clock."""

    phase: CasePhase
    verdict: Verdict
    round: int
    seats: int
    challengers: int
    time: int


@dataclass(frozen=True, slots=True)
class ArbiterState:
    """An arbiter's stake and fees in one pool; `ready_at` is when it may be drawn, or may leave."""

    stake_wei: Wei
    fees_wei: Wei
    duty: Duty
    ready_at: UnixTime


@dataclass(frozen=True, slots=True)
class PoolState:
    """Arbiters on duty in a pool, and their stakes together."""

    active: int
    stake_wei: Wei


class Court:
    """One dispute court; each read is one round trip and raises `Unavailable` when no endpoint answers."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def pools(self) -> "ArbiterPools":
        """Where its arbiters stake."""
        data = bindings.encode_dispute_court_pools()
        return ArbiterPools(
            self._rpc, await read(self._rpc, View(self.address, data, bindings.decode_dispute_court_pools))
        )

    async def case(self, case_id: CaseId, at: BlockTag = "latest") -> CaseState:
        """Where a case stands; phase NONE where there is no such case."""
        data = bindings.encode_dispute_court_case_of(case_id)
        found = await read(self._rpc, View(self.address, data, bindings.decode_dispute_court_case_of), at)
        return CaseState(
            CasePhase(found.phase), Verdict(found.verdict), found.round, found.seats, found.challengers, found.time
        )


class ArbiterPools:
    """The arbiters of one court; each read is one round trip and raises `Unavailable` when no endpoint answers."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def clocks(self) -> CourtClocks:
        """The constants of court and pools."""
        data = bindings.encode_arbiter_pools_court_clocks()
        found = await read(self._rpc, View(self.address, data, bindings.decode_arbiter_pools_court_clocks))
        return CourtClocks(
            join_blocks=found.join_blocks,
            reveal_blocks=found.reveal_blocks,
            vote_s=found.vote_time,
            reveal_s=found.reveal_time,
            appeal_s=found.appeal_time,
            answer_s=found.answer_time,
            max_dispute_s=found.max_dispute,
            min_age_s=found.min_age,
            leave_s=found.leave_time,
            min_arbiters=found.min_arbiters,
            min_stake_wei=Wei(found.min_stake),
            gas_allowance_wei=Wei(found.gas_allowance),
        )

    async def arbiter(self, pool: Digest, arbiter: Address) -> ArbiterState:
        """What somebody has in a pool."""
        data = bindings.encode_arbiter_pools_arbiter_of(pool, arbiter)
        found = await read(self._rpc, View(self.address, data, bindings.decode_arbiter_pools_arbiter_of))
        return ArbiterState(Wei(found.stake), Wei(found.fees), Duty(found.duty), UnixTime(found.ready_at))

    async def named(self, pool: Digest) -> tuple[Address, ...]:
        """Who is in a named set; nobody where the court does not know it."""
        data = bindings.encode_arbiter_pools_named(pool)
        return (await read(self._rpc, View(self.address, data, bindings.decode_arbiter_pools_named))).wallets

    async def pool(self, pool: Digest) -> PoolState:
        """How large a pool is."""
        data = bindings.encode_arbiter_pools_pool_of(pool)
        found = await read(self._rpc, View(self.address, data, bindings.decode_arbiter_pools_pool_of))
        return PoolState(found.active, Wei(found.stake))


# ---- calldata of challengers, arbiters, providers ------------------------------------------------------------------


def challenge(papers: Papers, kind: Kind, step: int, serial: int, hidden: Digest) -> bytes:
    """Open a case about a step or about data, with a hidden answer."""
    rules = _rules(papers.rules)
    return bindings.encode_dispute_court_challenge(
        deal=_claim(papers),
        demand=_demand(papers),
        rules=rules,
        kind=kind,
        step=step,
        serial=serial,
        answer=hidden,
    )


def join(papers: Papers, opened: CaseOpened, hidden: Digest) -> bytes:
    """Say the same in a case of somebody else."""
    return bindings.encode_dispute_court_join(_file(papers, opened), _demand(papers), _rules(papers.rules), hidden)


def show_answer(
    papers: Papers, opened: CaseOpened, index: int, answer: Digest, salt: Digest, claimed: Claimed
) -> bytes:
    """Open what challenger number `index` had hidden."""
    opening = bindings.Opening(answer, salt)
    return bindings.encode_dispute_court_show_answer(
        _file(papers, opened), _grounds(papers), index, opening, claimed.leaf, claimed.proof
    )


def challenge_spec(papers: Papers, position: int, leaf: ShownLeaf, proof: Sequence[Digest]) -> bytes:
    """Show a leaf that says what no leaf may; ends the deal at once."""
    shown = bindings.LeafProof(
        position, leaf.index, leaf.state_root, leaf.exit_code, leaf.stdout_root, int(leaf.done), tuple(proof)
    )
    return bindings.encode_dispute_court_challenge_spec(_claim(papers), _grounds(papers), shown)


def demand_leaves(papers: Papers, serial: int) -> bytes:
    """Open a case about leaves that were not published; asks for what lies below the root."""
    return bindings.encode_dispute_court_demand_leaves(_claim(papers), _grounds(papers), serial)


def descend(papers: Papers, opened: CaseOpened, nodes: Sequence[Digest], child: int) -> bytes:
    """Ask for what lies below one of the nodes shown."""
    return bindings.encode_dispute_court_descend(_file(papers, opened), nodes, child)


def name_step(
    papers: Papers, opened: CaseOpened, nodes: Sequence[Digest], child: int, serial: int, hidden: Digest
) -> bytes:
    """Go on from one of the leaves shown with a case about its step, and a hidden answer."""
    return bindings.encode_dispute_court_name_step(
        _file(papers, opened), _grounds(papers), nodes, child, serial, hidden
    )


def cast_vote(pool: Digest, case_id: CaseId, seat: int, hidden: Digest) -> bytes:
    """Cast a hidden vote."""
    return bindings.encode_dispute_court_cast_vote(pool, case_id, seat, hidden)


def reveal_vote(pool: Digest, case_id: CaseId, seat: int, vote: Vote, leaf: Digest, salt: Digest) -> bytes:
    """Reveal a vote."""
    return bindings.encode_dispute_court_reveal_vote(pool, case_id, seat, vote, leaf, salt)


def answer_leaves(papers: Papers, case: Case, nodes: Sequence[Digest]) -> bytes:
    """Show what lies below the node that was asked for; the provider's."""
    return bindings.encode_dispute_court_answer_leaves(_file(papers, case.opened), nodes)


# ---- calldata of a wallet, to the pools ----------------------------------------------------------------------------


def enroll(hardware_class: str, amount_wei: Wei) -> bytes:
    """Stake so much more in the pool of a class."""
    return bindings.encode_arbiter_pools_enroll(hardware_class, amount_wei)


def activate(pool: Digest, arbiter: Address) -> bytes:
    """Let an arbiter be drawn whose stake is old enough."""
    return bindings.encode_arbiter_pools_activate(pool, arbiter)


def begin_leave(pool: Digest) -> bytes:
    """End the sender's duty."""
    return bindings.encode_arbiter_pools_begin_leave(pool)


def leave(pool: Digest) -> bytes:
    """Take the stake back after the wait."""
    return bindings.encode_arbiter_pools_leave(pool)


def collect(pool: Digest) -> bytes:
    """Take the fees."""
    return bindings.encode_arbiter_pools_collect(pool)


# ---- calldata of anybody -------------------------------------------------------------------------------------------


def draw(papers: Papers, case: Case, claimed: Claimed) -> bytes:
    """Draw a committee."""
    return bindings.encode_dispute_court_draw(_file(papers, case.opened), _grounds(papers), claimed.leaf, claimed.proof)


def retarget(papers: Papers, case: Case) -> bytes:
    """Choose a new block to draw by."""
    return bindings.encode_dispute_court_retarget(_file(papers, case.opened))


def resolve(papers: Papers, case: Case, claimed: Claimed) -> bytes:
    """Count a round."""
    return bindings.encode_dispute_court_resolve(
        _file(papers, case.opened), _grounds(papers), claimed.leaf, claimed.proof
    )


def begin_audit(papers: Papers) -> bytes:
    """Let the lot decide whether a result is audited."""
    return bindings.encode_dispute_court_begin_audit(_claim(papers), _demand(papers), _rules(papers.rules))


def appeal(papers: Papers, case: Case) -> bytes:
    """Pay for a larger committee."""
    return bindings.encode_dispute_court_appeal(_file(papers, case.opened), _grounds(papers))


def settle(papers: Papers, case: Case) -> bytes:
    """Move the money by the verdict, or end a case whose clock is over."""
    openings = [bindings.Opening(one.answer, one.salt) for one in case.challengers]
    return bindings.encode_dispute_court_settle(_file(papers, case.opened), _grounds(papers), openings)


def pay_committee(pool: Digest, case_id: CaseId, round_number: int) -> bytes:
    """Pay the arbiters of a closed case."""
    return bindings.encode_dispute_court_pay_committee(pool, case_id, round_number)


# ---- logs ----------------------------------------------------------------------------------------------------------

COURT_LOGS = (
    bindings.Challenged,
    bindings.Joined,
    bindings.AnswerShown,
    bindings.Drawing,
    bindings.Drawn,
    bindings.VoteCast,
    bindings.VoteRevealed,
    bindings.Resolved,
    bindings.Appealed,
    bindings.Asked,
    bindings.Answered,
    bindings.StepNamed,
    bindings.Settled,
    bindings.CommitteePaid,
)
"""What a case is folded from."""


def case_event(log: object, market: Address, tx: TxHash, at: UnixTime) -> CaseEvent | None:
    """The event of a case that a decoded log of the court of `market` stands for; None for other logs."""
    match log:
        case bindings.Challenged():
            return CaseOpened(
                case_id=CaseId(log.case_id),
                deal_id=log.deal_id,
                opener=log.opener,
                kind=Kind(log.kind),
                step=log.step,
                serial=log.serial,
                bond_wei=Wei(log.bond),
                answer=Digest(log.answer),
                seed_block=log.seed_block,
                tx=tx,
                at=at,
            )
        case bindings.Joined():
            bond, answer = Wei(log.bond), Digest(log.answer)
            return cases.ChallengerJoined(CaseId(log.case_id), log.challenger, log.index, bond, answer, tx, at)
        case bindings.AnswerShown():
            answer, salt = Digest(log.answer), Digest(log.salt)
            return cases.AnswerShown(CaseId(log.case_id), log.challenger, log.index, answer, salt, tx, at)
        case bindings.Drawing():
            return cases.DrawingBegun(CaseId(log.case_id), log.round, log.seats, log.seed_block, tx, at)
        case bindings.Drawn():
            return cases.CommitteeDrawn(
                case_id=CaseId(log.case_id),
                market=market,
                pool=Digest(log.pool),
                round=log.round,
                step=log.step,
                claimed_leaf=Digest(log.claimed_leaf),
                vote_by=UnixTime(log.vote_by),
                arbiters=log.arbiters,
                tx=tx,
                at=at,
            )
        case _:
            return _later_event(log, tx, at)


def _later_event(log: object, tx: TxHash, at: UnixTime) -> CaseEvent | None:
    match log:
        case bindings.VoteCast():
            return cases.VoteCast(CaseId(log.case_id), log.round, log.seat, tx, at)
        case bindings.VoteRevealed():
            vote, leaf = Vote(log.vote), Digest(log.leaf)
            return cases.VoteRevealed(CaseId(log.case_id), log.round, log.seat, vote, leaf, tx, at)
        case bindings.Resolved():
            verdict, leaf, until = Verdict(log.verdict), Digest(log.leaf), UnixTime(log.appeal_by)
            return cases.CaseDecided(CaseId(log.case_id), log.round, verdict, leaf, until, tx, at)
        case bindings.Appealed():
            return cases.CaseAppealed(CaseId(log.case_id), log.appellant, log.round, Wei(log.amount), tx, at)
        case bindings.Asked():
            node, until = Digest(log.node), UnixTime(log.deadline)
            return cases.LeavesAsked(CaseId(log.case_id), node, log.height, log.index, until, tx, at)
        case bindings.Answered():
            nodes, until = tuple(map(Digest, log.nodes)), UnixTime(log.deadline)
            return cases.LeavesAnswered(CaseId(log.case_id), nodes, log.height, log.index, until, tx, at)
        case bindings.StepNamed():
            return cases.StepNamed(CaseId(log.case_id), CaseId(log.step_case_id), tx, at)
        case bindings.Settled():
            return cases.CaseSettled(
                case_id=CaseId(log.case_id),
                deal_id=log.deal_id,
                verdict=Verdict(log.verdict),
                fee_wei=Wei(log.fee),
                bounty_wei=Wei(log.bounty),
                burned_wei=Wei(log.burned),
                tx=tx,
                at=at,
            )
        case bindings.CommitteePaid():
            return cases.CommitteePaid(CaseId(log.case_id), log.round, Wei(log.burned), tx, at)
        case _:
            return None


# ---- structs -------------------------------------------------------------------------------------------------------


def _claim(papers: Papers) -> bindings.Claim:
    digest = commitment_digest(
        papers.trace_root,
        papers.result_root,
        papers.delivery_root,
        papers.leaves_cid,
        papers.step_count,
        papers.status,
    )
    return bindings.Claim(
        deal_id=papers.deal_id,
        terms=abi_terms(papers.terms),
        locked_by=papers.locked_by,
        amount=papers.amount_wei,
        commitment_digest=digest,
    )


def _demand(papers: Papers) -> bindings.DemandCore:
    steps = steps_word(papers.rules, papers.first_step, papers.step_limit)
    return bindings.DemandCore(SpecDigest(papers.spec), papers.input_root, steps)


def _rules(rules: Rules) -> bindings.Rules:
    return bindings.Rules(
        class_=CLASS_NUMBERS[rules.verification],
        sealed=rules.sealed,
        quorum=rules.quorum,
        pool=rules.pool,
        comparator=rules.comparator,
        max_state_bytes=rules.max_state_bytes,
        step_seconds=rules.step_s,
        arbiter_fee=rules.arbiter_fee_wei,
        audit_ppm=rules.audit_rate_ppm,
    )


def _grounds(papers: Papers) -> bindings.Grounds:
    result = bindings.Statement(
        trace_root=papers.trace_root,
        result_root=papers.result_root,
        delivery_root=papers.delivery_root,
        leaves_cid=papers.leaves_cid,
        step_count=papers.step_count,
        status=papers.status,
    )
    return bindings.Grounds(_demand(papers), _rules(papers.rules), result)


def _file(papers: Papers, opened: CaseOpened) -> bindings.File:
    """A case as its slot binds it."""
    return bindings.File(
        _claim(papers), opened.kind, opened.step, opened.serial, opened.opener, opened.bond_wei, opened.answer
    )
