"""The requester's own challenges: of what its audits have found wrong, and of bytes that it never got.

Its jobs say so in their phases; a challenge has a name by its deal and step, so it is begun once however often it is
seen.
"""

import secrets
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.challenged.appetite import Appetite
from capanode.node.challenged.briefs import papers_of_own
from capanode.node.challenged.disputing import Disputing
from capanode.node.journal import Stored
from capanode.protocol import requester
from capanode.protocol.cases import Claimed, Kind
from capanode.protocol.events import Contest
from capanode.protocol.faults import Fault, InvariantViolated
from capanode.protocol.ids import Address, Digest

AGAIN_S: Final = 5.0
"""How long to wait before a complaint that could not be made is tried again, while there is time."""

log = structlog.get_logger()


class Complaints:
    """Challenges for one requester."""

    def __init__(self, agent: Agent, disputing: Disputing, wallet: Address, appetite: Appetite) -> None:
        self._agent = agent
        self._disputing = disputing
        self._wallet = wallet
        self._appetite = appetite
        self._made: set[str] = set()

    async def run(self) -> None:
        """Complain until cancelled."""
        while True:
            async with self._agent.watching() as changes:
                is_done = all([await self._complain(stored) for stored in self._agent.open_deals()])
                with trio.move_on_after(float("inf") if is_done else AGAIN_S):
                    async for stored in changes:
                        if not await self._complain(stored):
                            break

    async def _complain(self, stored: Stored) -> bool:
        """Whether nothing is left to complain about in this job."""
        state = stored.state
        if stored.key in self._made or not isinstance(state, requester.Faulty | requester.Withheld):
            return True
        if state.order.demand.rules is None:
            return True
        try:
            challenge, reason = await self._begin(stored, state)
        except InvariantViolated:
            raise
        except Fault as fault:
            log.info("complaint-waits", job=stored.key, reason=str(fault))
            return False
        log.warning("complaint", job=stored.key, challenge=challenge, reason=reason)
        self._made.add(stored.key)
        return True

    async def _begin(self, stored: Stored, state: requester.Faulty | requester.Withheld) -> tuple[str | None, str]:
        if isinstance(state, requester.Faulty):
            return await self._disputing.dispute_whatever(state.deal.deal_id, state.step, self._appetite)
        return await self._disputing.dispute_missing(data_contest(state, self._wallet), stored.market, self._appetite)


def data_contest(job: requester.Withheld, wallet: Address) -> Contest:
    """What a job that never got its result says of it; the answer is no leaf, so that it says no more than that."""
    committed, demand = job.commitment, job.order.demand
    return Contest(
        papers=papers_of_own(job.deal, demand, committed),
        kind=Kind.DATA,
        step=demand.first_step + committed.step_count - 1,
        claimed=Claimed(),
        answer=Digest(secrets.token_bytes(32)),
        salt=Digest(secrets.token_bytes(32)),
        challenger=wallet,
        window_ends_at=committed.window_ends_at,
        reason=job.reason[:500],
    )
