"""Whether a committed result is right: its steps computed again, one after the other, and what differs.

Each step begins with the state that was committed before it, so each stands for itself, and the first one that leads
elsewhere is the one to challenge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from capanode.node.challenged.committed_trace import CommittedTrace, States, committed_trace
from capanode.node.challenged.evidence import EvidenceFinder
from capanode.node.challenged.reexecution import Reexecution
from capanode.node.challenged.retracing import Retracing
from capanode.node.executed.steps import OOM_STATUS, TIMEOUT_STATUS, Computed
from capanode.node.executors.port import End, State
from capanode.proofs.trace import Leaf
from capanode.protocol.faults import InvariantViolated, Refused
from capanode.protocol.ids import DealId

Choose = Callable[[range], Sequence[int]]
"""Which of a deal's steps to compute again."""


class Verdict(StrEnum):
    """What computing a step again came to."""

    HOLDS = "holds"
    DIFFERS = "differs"
    UNCLEAR = "unclear"
    """The step ran into a limit on one machine only, or the machines are not of one class: that may come of either."""


@dataclass(frozen=True, slots=True)
class StepCheck:
    """A step computed again: the leaf that was committed, the one that came out here, and how they differ."""

    index: int
    verdict: Verdict
    committed: Leaf
    computed: Leaf
    reasons: tuple[str, ...]
    """Sentences about what is no file: exit code, standard output, the end of the job."""

    findings: tuple[tuple[str, str], ...]
    """Paths at which the two states differ, each with why."""


@dataclass(frozen=True, slots=True)
class Check:
    """The steps that were computed again, in order; the last one is the first that does not hold, if any."""

    trace: CommittedTrace
    steps: tuple[StepCheck, ...]

    @property
    def verdict(self) -> Verdict:
        """That of the first step which does not hold."""
        return next((one.verdict for one in self.steps if one.verdict is not Verdict.HOLDS), Verdict.HOLDS)

    @property
    def divergent(self) -> StepCheck | None:
        """The step to challenge."""
        return next((one for one in self.steps if one.verdict is Verdict.DIFFERS), None)


def is_found_twice(trace: CommittedTrace, first: StepCheck, again: StepCheck) -> bool:
    """Whether two looks at a step found it wrong alike: by the same leaf, or by values where those are compared."""
    if {first.verdict, again.verdict} != {Verdict.DIFFERS}:
        return False
    return again.computed == first.computed or trace.found.evidence.spec.comparator is not None


class Checker:
    """Checks the deals of others."""

    def __init__(self, finder: EvidenceFinder, states: States, reexecution: Reexecution, retracing: Retracing) -> None:
        self._finder = finder
        self.states = states
        self._reexecution = reexecution
        self.retracing = retracing

    async def trace_of(self, deal_id: DealId) -> CommittedTrace:
        """What a deal has committed to, fetched and compared with the chain.

        Raises:
            Refused: there is no such result, or neither may this machine judge it.
            LeavesWithheld: all but its leaves, of which the chain has seen too few to judge it.
            BytesMissing: its evidence cannot be had.
            PeerFault: what is served of it is not what was committed.
            Unavailable: the chain does not answer.
        """
        found = await self._finder.fetch_evidence(deal_id)
        if objection := self._reexecution.objection(found.evidence):
            raise Refused(f"this machine cannot judge the deal: {objection}")
        return await committed_trace(self._finder, found)

    async def check(self, trace: CommittedTrace, choose: Choose) -> Check:
        """Compute the chosen steps again, up to the first that does not hold; raises as `check_step`."""
        done: list[StepCheck] = []
        for index in choose(trace.steps):
            done.append(await self.check_step(trace, index))
            if done[-1].verdict is not Verdict.HOLDS:
                break
        return Check(trace, tuple(done))

    async def check_step(self, trace: CommittedTrace, index: int) -> StepCheck:
        """Compute one step again.

        Raises:
            Refused: the deal has no such step, or this machine cannot judge it.
            BytesMissing: inputs or states cannot be had.
            PeerFault: what is served of them is not what was committed.
            Unavailable: the engine failed.
        """
        async with self._reexecution.recomputed(trace, index) as made:
            return await self._compared(trace, index, made)

    async def _compared(self, trace: CommittedTrace, index: int, made: Computed) -> StepCheck:
        theirs, ours = trace.after(index), made.leaf
        if theirs == ours:
            return StepCheck(index, Verdict.HOLDS, theirs, ours, (), ())
        findings, reasons = await self._findings(trace, theirs, made.state), _reasons(theirs, ours)
        if trace.found.evidence.spec.comparator is not None and not findings and not reasons:
            return StepCheck(index, Verdict.HOLDS, theirs, ours, (), ())
        # Where the terms bind no class, a provider may have said any: on other machines, other bytes prove nothing.
        is_like = self._reexecution.is_like(trace.found.evidence)
        verdict = Verdict.UNCLEAR if _is_limit(theirs, made) or not is_like else Verdict.DIFFERS
        return StepCheck(index, verdict, theirs, ours, reasons, findings)

    async def _findings(self, trace: CommittedTrace, theirs: Leaf, ours: State) -> tuple[tuple[str, str], ...]:
        # Not at the top: it loads numpy, which only nodes that check need.
        from capanode.node.challenged.comparison import compared
        from capanode.proofs.compare import Result, compare

        comparator = trace.found.evidence.spec.comparator
        if comparator is None:
            entries = await self.states.entries(trace, theirs)
            found = compare(Result(entries, _unread), Result(ours.entries, _unread), None)
        else:
            found = await compared(ours, await self.states.of(trace, theirs), comparator)
        return tuple((finding.path, finding.reason) for finding in found.findings)


def _unread(path: str) -> bytes:
    raise InvariantViolated(f"an exact comparison does not read {path!a}")


def _is_limit(theirs: Leaf, made: Computed) -> bool:
    """Whether one of the two ended at a limit of time or memory, which depends on the machine."""
    limits = {OOM_STATUS, TIMEOUT_STATUS}
    return made.outcome.end in (End.OOM, End.TIMEOUT) or theirs.exit_code in limits


def _reasons(theirs: Leaf, ours: Leaf) -> tuple[str, ...]:
    found: list[str] = []
    if theirs.exit_code != ours.exit_code:
        found.append(f"the exit code {theirs.exit_code} was committed, {ours.exit_code} came out")
    if theirs.stdout_root != ours.stdout_root:
        found.append("standard output is not the same")
    if theirs.done != ours.done:
        found.append("it was committed as the last step" if theirs.done else "it is the last step")
    return tuple(found)
