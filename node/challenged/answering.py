"""The provider's answers to forced reveals: whoever says that leaves are withheld is shown them on chain.

Nothing is remembered here: what was asked stands in the case, the leaves are kept with the result, and a transaction's
key names the question. A hot key may answer.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.chain import court as courts
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.orders import Orders
from capanode.node.challenged.briefs import papers_of, trace_of
from capanode.node.challenged.committed_trace import CommittedTrace
from capanode.node.journal import Side
from capanode.proofs.trace import nodes_below
from capanode.protocol.cases import LEVELS, Case, CasePhase
from capanode.protocol.faults import Fault, InvariantViolated
from capanode.protocol.ids import Address, DealId

AGAIN_S: Final = 5.0
"""How long to wait before an answer that could not be given is tried again."""

log = structlog.get_logger()


class Answering:
    """Answers for the deals that this node has computed."""

    def __init__(
        self,
        agent: Agent,
        cases: CaseLog,
        trace: Callable[[DealId], Awaitable[CommittedTrace]],
        orders: Callable[[Address], Orders],
    ) -> None:
        """`trace` is what one of this node's deals has committed to; `orders` are those of a market's court."""
        self._agent = agent
        self._cases = cases
        self._trace = trace
        self._orders = orders

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            is_done = await self._look()
            with trio.move_on_after(float("inf") if is_done else AGAIN_S):
                await self._cases.wait_change()

    async def _look(self) -> bool:
        """One round over the open questions; whether all were answered."""
        is_done = True
        for filed in await self._cases.open():
            if filed.case.phase is not CasePhase.ASKED or not self._is_own(filed.case):
                continue
            try:
                await self._answer(filed)
            except InvariantViolated:
                raise
            except Fault as fault:
                log.warning("answer-waits", case=filed.case.case_id.hex(), reason=str(fault))
                is_done = False
        return is_done

    def _is_own(self, case: Case) -> bool:
        return self._agent.by_deal_id(Side.PROVIDER, case.deal_id) is not None

    async def _answer(self, filed: Filed) -> None:
        case, question = filed.case, filed.case.question
        assert question is not None
        trace = await self._trace(case.deal_id)
        nodes = nodes_below(trace_of(trace), question.height, question.index, min(question.height, LEVELS))
        data = courts.answer_leaves(papers_of(trace.found.evidence), case, nodes)
        effect = f"{case.case_id.hex()}/{question.height}/{question.index}"
        await self._orders(filed.market).eventually(effect, "answer", data)
        log.info("leaves-shown", case=case.case_id.hex(), height=question.height, index=question.index)
