"""Audits by lot, begun by those who earn by them: an arbiter that is drawn is paid whatever it finds.

What the lot costs is gas, of beginning it and of drawing, and nobody pays that back. So a node begins one where its
share of the pool makes that worth its while. A result that was committed while the node was off is left to others.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

import structlog
import trio

from capanode.node.chain import court as courts
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.court import Duty
from capanode.node.chain.courts import Courts
from capanode.node.chain.orders import Orders
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import quantity, read_digest, read_object
from capanode.node.challenged.briefs import papers_of
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.evidence import Found
from capanode.node.challenged.looks import Looks
from capanode.protocol.auditing import audited_step
from capanode.protocol.cases import Case, CasePhase, Kind, Papers, case_id_of
from capanode.protocol.faults import Fault, InvariantViolated, Unavailable
from capanode.protocol.ids import Address, DealId, Digest, Wei
from capanode.protocol.judging import Rules, class_pool
from capanode.protocol.tariff import PPM
from capanode.scheduler.judges import shared_fee_wei

TURNS: Final = 4
"""Arbiters take turns by their addresses, so that mostly one of them pays the gas."""

SEATS: Final = 3
"""Arbiters of an audit's first round. Source: docs/protocol.md §12."""

log = structlog.get_logger()


class Lots:
    """Begins audits for one arbiter."""

    def __init__(
        self,
        checker: Checker,
        judges: Courts,
        clock: ChainClock,
        wallet: Address,
        hardware_class: str,
        turn_s: float,
        *,
        gas_wei: Callable[[], Wei],
        orders: Callable[[Address], Orders],
        named: Callable[[Digest], tuple[Address, ...] | None] = lambda _: None,
    ) -> None:
        """`gas_wei` is what two transactions cost; `orders` are those of a market's court.

        `named` are the arbiters of a named set that this one serves in.
        """
        self._checker = checker
        self._courts = judges
        self._clock = clock
        self._wallet = wallet
        self._pool = class_pool(hardware_class)
        self._turn_s = turn_s
        self._gas_wei = gas_wei
        self._orders = orders
        self._named = named

    async def run(self, committed: trio.MemoryReceiveChannel[DealId]) -> None:
        """Look at what is committed, one after the other, until cancelled; what cannot be looked at yet, later."""
        looks = Looks(committed)
        while (look := await looks.next()) is not None:
            try:
                await self.consider(look.deal_id)
            except InvariantViolated:
                raise
            except Fault as fault:
                waits = isinstance(fault, Unavailable) and looks.again(look)
                event = "audit-waits" if waits else "audit-passes"
                log.info(event, deal=look.deal_id.hex(), reason=str(fault))

    async def consider(self, deal_id: DealId) -> bool:
        """Begin the audit of a result, if that is worth it and nobody has; whether this node has begun it.

        Raises:
            Refused: this machine does not judge such deals.
            BytesMissing, PeerFault, Unavailable: nothing can be said of it now.
        """
        found = (await self._checker.trace_of(deal_id)).found
        if not await self._is_worth_it(found):
            return False
        papers, market = papers_of(found.evidence), found.evidence.market
        case_id = case_id_of(deal_id, Kind.AUDIT, 0, 0)
        await trio.sleep(sha256(case_id + self._wallet).digest()[0] % TURNS * self._turn_s)
        if (await self._courts.of(market).court.case(case_id)).phase is not CasePhase.NONE:
            return False
        refused = await self._orders(market).insist(case_id.hex(), "begin-audit", courts.begin_audit(papers))
        log.info("audit-begun", deal=deal_id.hex(), refused=refused.reason if refused else None)
        return refused is None

    async def _is_worth_it(self, found: Found) -> bool:
        """Whether what this arbiter may expect of the audit is more than the gas for it."""
        rules, terms = found.evidence.rules, found.evidence.terms
        is_over = self._clock.now() >= found.slot.deadline
        if rules is None or is_over or self._wallet in (terms.provider, terms.requester):
            return False
        if named := self._named(rules.pool):
            return expected_of_set_wei(rules, len(named)) > self._gas_wei()
        if rules.pool != self._pool:
            return False
        pools = self._courts.of(found.evidence.market).pools
        own, whole = await pools.arbiter(self._pool, self._wallet), await pools.pool(self._pool)
        return own.duty is Duty.ACTIVE and expected_wei(rules, own.stake_wei, whole.stake_wei) > self._gas_wei()


def expected_wei(rules: Rules, stake_wei: Wei, pool_wei: Wei) -> Wei:
    """What an arbiter with this share of the pool may expect of the lot of one result."""
    share = min(stake_wei, pool_wei)
    return Wei(SEATS * rules.arbiter_fee_wei * rules.audit_rate_ppm * share // (PPM * max(pool_wei, 1)))


def expected_of_set_wei(rules: Rules, arbiters: int) -> Wei:
    """What each of a named set may expect: nobody is drawn, and all are paid."""
    return Wei(shared_fee_wei(rules.arbiter_fee_wei, arbiters) * rules.audit_rate_ppm // PPM)


async def drawn_step(rpc: Rpc, case: Case, papers: Papers) -> int:
    """The step that the lot of an audit has fallen on; where it fell on none, the first one, which nobody looks at.

    Raises:
        Unavailable: no endpoint answers.
    """
    block = read_object(await rpc.call("eth_getBlockByNumber", quantity(case.seed_block), False))
    rules, seed = papers.rules, Digest(read_digest(block["hash"]))
    step = audited_step(case.case_id, seed, rules.audit_rate_ppm, papers.first_step, papers.step_count)
    return papers.first_step if step is None else step
