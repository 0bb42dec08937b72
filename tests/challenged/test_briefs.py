"""The papers of a deal: the same whether they come of evidence or of one's own demand."""

from dataclasses import replace
from pathlib import Path

import pytest

from capanode.node.challenged.briefs import papers_of, papers_of_own
from capanode.protocol.faults import Refused
from capanode.protocol.requester import Deal
from capanode.protocol.typed_data import spec_digest
from tests.challenged.committed import RULES, committed
from tests.protocol import deals


async def test_a_requester_names_its_deal_as_a_stranger_does(tmp_path: Path) -> None:
    async with committed(tmp_path, rules=RULES) as opened:
        told = (await opened.watcher.finder.fetch_evidence(opened.deal)).evidence
        demand = replace(
            deals.demand(),
            spec=spec_digest(told.spec),
            input_root=told.input_root,
            first_step=told.first_step,
            step_limit=told.step_limit,
            rules=told.rules,
        )
        made = told.commitment
        logged = replace(
            deals.COMMITTED,
            trace_root=told.trace_root,
            result_root=made.result_root,
            delivery_root=made.delivery_root,
            leaves_cid=made.leaves_cid,
            step_count=made.step_count,
            status=made.status,
            amount_wei=made.amount_wei,
        )
        deal = Deal(told.deal_id, told.terms, opened.provider.peer_id, told.locked_by)
        assert papers_of_own(deal, demand, logged) == papers_of(told)
        with pytest.raises(Refused, match="do not say how to judge it"):
            papers_of_own(deal, replace(demand, rules=None), logged)
        with pytest.raises(Refused, match="do not say how to judge it"):
            papers_of(replace(told, rules=None))
