"""What a case needs of its deal: the papers that the court compares, and the leaf that was committed."""

from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.proofs import trace as traces
from capanode.proofs.commitment import Commitment
from capanode.proofs.evidence import Evidence
from capanode.proofs.trace import Trace
from capanode.protocol.cases import Claimed, Kind, Papers
from capanode.protocol.events import DealCommitted
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Digest, SpecDigest
from capanode.protocol.records import Demand
from capanode.protocol.requester import Deal
from capanode.protocol.typed_data import spec_digest


def papers_of(evidence: Evidence) -> Papers:
    """A deal as the court's calls name it.

    Raises:
        Refused: the deal's terms say of no court how to judge it.
    """
    return _papers(evidence, evidence, evidence.commitment, evidence.trace_root, spec_digest(evidence.spec))


def papers_of_own(deal: Deal, demand: Demand, committed: DealCommitted) -> Papers:
    """The same of a deal that one's own demand has led to: no evidence has to be fetched.

    Raises:
        Refused: as of any other.
    """
    return _papers(deal, demand, committed, committed.trace_root, demand.spec)


def _papers(
    deal: Evidence | Deal,
    asked: Evidence | Demand,
    made: Commitment | DealCommitted,
    trace_root: Digest,
    spec: SpecDigest,
) -> Papers:
    if asked.rules is None:
        raise Refused("the deal's terms do not say how to judge it, so its result cannot be disputed")
    return Papers(
        deal_id=deal.deal_id,
        terms=deal.terms,
        locked_by=deal.locked_by,
        amount_wei=made.amount_wei,
        trace_root=trace_root,
        result_root=made.result_root,
        delivery_root=made.delivery_root,
        leaves_cid=made.leaves_cid,
        step_count=made.step_count,
        status=made.status,
        spec=Digest(spec),
        input_root=asked.input_root,
        first_step=asked.first_step,
        step_limit=asked.step_limit,
        rules=asked.rules,
    )


def claimed_of(trace: CommittedTrace, kind: Kind, step: int) -> Claimed:
    """The leaf that was committed after a step, with its proof; nothing where it is about bytes or about no step.

    Raises:
        Refused: the deal has no such step.
    """
    if kind not in (Kind.STEP, Kind.AUDIT):
        return Claimed()
    if step not in trace.steps:
        raise Refused(f"the deal has the steps {trace.steps.start} to {trace.steps.stop - 1}, and no step {step}")
    hashed = trace_of(trace)
    position = step + 1 - trace.first_step
    return Claimed(hashed.leaves[position], traces.proof(hashed, position))


def trace_of(trace: CommittedTrace) -> Trace:
    """The committed leaves as the chain knows them."""
    return traces.trace_of(trace.found.evidence.deal_id, trace.leaves)
