"""What a case needs of its deal: the papers that the court compares, and the leaf that was committed."""

from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.proofs import trace as traces
from capanode.proofs.evidence import Evidence
from capanode.proofs.trace import Trace
from capanode.protocol.cases import Claimed, Kind, Papers
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Digest
from capanode.protocol.typed_data import spec_digest


def papers_of(evidence: Evidence) -> Papers:
    """A deal as the court's calls name it.

    Raises:
        Refused: the deal's terms say of no court how to judge it.
    """
    if evidence.rules is None:
        raise Refused("the deal's terms do not say how to judge it, so its result cannot be disputed")
    made = evidence.commitment
    return Papers(
        deal_id=evidence.deal_id,
        terms=evidence.terms,
        locked_by=evidence.locked_by,
        amount_wei=made.amount_wei,
        trace_root=evidence.trace_root,
        result_root=made.result_root,
        delivery_root=made.delivery_root,
        leaves_cid=made.leaves_cid,
        step_count=made.step_count,
        status=made.status,
        spec=Digest(spec_digest(evidence.spec)),
        input_root=evidence.input_root,
        first_step=evidence.first_step,
        step_limit=evidence.step_limit,
        rules=evidence.rules,
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
