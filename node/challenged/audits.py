"""The requester's own audits: a secret coin chooses results, and this node recomputes them before it accepts.

They are what makes fraud unprofitable, as the provider's fraud bond follows from their rate. Nobody else can know
which results are looked at before they are committed.
"""

import secrets
import sqlite3
from dataclasses import replace
from typing import Final

import structlog
import trio

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.checking import Check, Checker, StepCheck, Verdict
from capanode.node.challenged.committed_trace import LeafForbidden, LeavesWithheld, StateMissing
from capanode.node.challenged.engine_on_demand import NoEngine
from capanode.node.challenged.evidence import ResultMissing
from capanode.node.storage.database import Database, Schema
from capanode.proofs.evidence import why_private
from capanode.protocol import requester
from capanode.protocol.auditing import SECRET_BYTES, is_drawn
from capanode.protocol.events import AuditEnded, AuditFinding, ResultDrawn, ResultFetched
from capanode.protocol.faults import PeerFault, Refused, Unavailable

SCHEMA: Final = Schema(
    "audits",
    ("CREATE TABLE audit_secret (only INTEGER PRIMARY KEY CHECK (only = 0), secret BLOB NOT NULL);",),
)

MAX_REASON_CHARS: Final = 500

log = structlog.get_logger()


class Audits:
    """Chooses and recomputes; one per requester."""

    def __init__(
        self, database: Database, checker: Checker, clock: ChainClock, *, is_on: bool, accepts_unclear: bool = False
    ) -> None:
        """`accepts_unclear` says to accept what could not be recomputed, as if it had not been drawn."""
        self._database = database
        self._checker = checker
        self._clock = clock
        self._is_on = is_on
        self._accepts_unclear = accepts_unclear

    async def drawn(
        self, job: requester.Committed | requester.Withheld, fetched: ResultFetched
    ) -> ResultFetched | ResultDrawn:
        """What to make of a result that has arrived: the same answer for the same commitment, after restarts too."""
        demand = job.order.demand
        if not self._is_on or demand.audit_rate_ppm <= 0 or why_private(job.order.spec, demand.rules):
            return fetched
        if not is_drawn(await self._secret(), job.deal.deal_id, job.commitment.trace_root, demand.audit_rate_ppm):
            return fetched
        return ResultDrawn(fetched.folder, fetched.receipt)

    async def audit(self, job: requester.Auditing) -> AuditEnded:
        """Recompute all steps of a result, up to the first that does not hold, as long as the window is open.

        Raises:
            Unavailable: evidence or engine are away, and there is time to try again.
        """
        ended = await self._audited(job)
        is_waived = self._accepts_unclear and ended.finding is AuditFinding.UNCLEAR
        return replace(ended, finding=AuditFinding.WAIVED) if is_waived else ended

    async def _audited(self, job: requester.Auditing) -> AuditEnded:
        left_s = job.commitment.window_ends_at - self._clock.now()
        with trio.move_on_after(max(left_s, 0)):
            try:
                check = await self._checker.check(await self._checker.trace_of(job.deal.deal_id), tuple)
            except LeafForbidden as wrong:
                return AuditEnded(AuditFinding.DIFFERS, wrong.found.evidence.first_step, str(wrong)[:MAX_REASON_CHARS])
            except (ResultMissing, StateMissing, LeavesWithheld) as missing:
                # What is away now may be back; but there has to be time left to say that it is not.
                if left_s > (job.commitment.window_ends_at - job.commitment.at) / 2:
                    raise
                step = missing.found.evidence.first_step if isinstance(missing, LeavesWithheld) else missing.step
                return AuditEnded(AuditFinding.DIFFERS, step, str(missing)[:MAX_REASON_CHARS])
            except (Refused, NoEngine) as reason:
                return _unclear(str(reason))
            except PeerFault as fault:
                raise Unavailable(f"The result cannot be recomputed yet: {fault}") from fault
            return _ended(check)
        return _unclear("the window was over before all steps were recomputed")

    async def _secret(self) -> bytes:
        """Made once, before the first coin falls, and kept as long as the node's journal."""
        known = await self._database.read(_kept_secret)
        if known is not None:
            return known
        fresh = secrets.token_bytes(SECRET_BYTES)

        def write(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO audit_secret (only, secret) VALUES (0, ?)", (fresh,))
            return _kept_secret(connection) or fresh

        return await self._database.write("audit.secret", write)


def _kept_secret(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT secret FROM audit_secret").fetchone()
    return bytes(row[0]) if row else None


def _ended(check: Check) -> AuditEnded:
    wrong = next((one for one in check.steps if one.verdict is not Verdict.HOLDS), None)
    if wrong is None:
        return AuditEnded(AuditFinding.HOLDS, 0, "")
    log.warning("audit-ended", deal=check.trace.found.evidence.deal_id.hex(), step=wrong.index, verdict=wrong.verdict)
    if wrong.verdict is Verdict.UNCLEAR:
        return AuditEnded(
            AuditFinding.UNCLEAR,
            wrong.index,
            f"step {wrong.index} came out otherwise here, which may come of the machines",
        )
    return AuditEnded(AuditFinding.DIFFERS, wrong.index, _reason(wrong))


def _reason(wrong: StepCheck) -> str:
    files = [f"{path[:100]!a}: {reason}" for path, reason in wrong.findings[:3]]
    return "; ".join((*wrong.reasons, *files))[:MAX_REASON_CHARS] or "its leaf is not the same"


def _unclear(reason: str) -> AuditEnded:
    log.warning("audit-unclear", reason=reason)
    return AuditEnded(AuditFinding.UNCLEAR, 0, reason[:MAX_REASON_CHARS])
