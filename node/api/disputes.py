"""What a user asks and says of disputes: cases, own challenges and duties, an arbiter's stake."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, cast

from capanode.node.addresses import address_of
from capanode.node.agent import Agent
from capanode.node.api.checks import deal_id_of
from capanode.node.api.port import Json
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.wire import hexadecimal
from capanode.node.challenged.appetite import Appetite
from capanode.node.challenged.commits import Commits
from capanode.node.challenged.disputes import Disputes
from capanode.node.challenged.watching import Finding, Passed
from capanode.node.journal import Journal, Side, Stored
from capanode.protocol import arbiter, challenger, machines
from capanode.protocol.cases import Case
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, DealId, Ppm, Wei
from capanode.protocol.named_set import MOST_NAMED, in_order

MAX_LISTED: Final = 1000

MAX_SHORT_CHARS: Final = 66

GROUNDS: Final = ("step", "data", "spec", "leaves")
"""What a challenge may be about, as the caller names it."""

_Voted = arbiter.Voting | arbiter.Cast | arbiter.Revealed | arbiter.Served
"""Phases of a duty in which the vote stands."""


class DisputeDesk:
    """The part of `NodeApi` that disputes are the business of."""

    def __init__(self, disputes: Disputes, agent: Agent, journal: Journal, cases: CaseLog, commits: Commits) -> None:
        self._disputes = disputes
        self._agent = agent
        self._journal = journal
        self._cases = cases
        self._commits = commits

    async def call(self, verb: str, arguments: Json) -> Json:
        """As `NodeApi.dispute`."""
        match verb:
            case "list":
                return await self._list()
            case "show":
                return await self._show(_text(arguments, "name"))
            case "open":
                return await self._open(_text(arguments, "deal"), arguments)
            case "arbiter":
                return await self._disputes.enrolment.show()
            case "enroll" if "arbiters" in arguments:
                return await self._disputes.enrolment.serve(_arbiters(arguments))
            case "leave" if "arbiters" in arguments:
                return await self._disputes.enrolment.retire(_arbiters(arguments))
            case "enroll" | "leave" | "collect":
                amount = Wei(_number(arguments, "amount_wei")) if verb == "enroll" else Wei(0)
                return await self._disputes.enrolment.call(verb, _text(arguments, "request"), amount)
            case _:
                raise Refused(f"the node has no such call: {verb[:20]!a}")

    async def watch(self, arguments: Json) -> AsyncGenerator[Json]:
        """As `NodeApi.watch_results`."""
        appetite = _appetite(self._disputes.appetite, arguments)
        with self._commits.listening() as committed:
            yield {"watching": {"sample_ppm": appetite.sample_ppm, "dry_run": appetite.is_dry}}
            async with aclosing(self._disputes.watching.watch(committed, appetite)) as watched:
                async for told in watched:
                    yield {"finding": _told_json(told)}

    async def _list(self) -> Json:
        own = await self._journal.deals(Side.CHALLENGER, MAX_LISTED)
        duties = await self._journal.deals(Side.ARBITER, MAX_LISTED)
        return {
            "challenges": [_row_json(stored) for stored in own],
            "duties": [_row_json(stored) for stored in duties],
            "cases": [case_json(filed) for filed in await self._cases.newest(MAX_LISTED)],
        }

    async def _show(self, name: str) -> Json:
        wanted = name[:MAX_SHORT_CHARS].lower()
        for stored in await self._journal.deals(Side.CHALLENGER, MAX_LISTED):
            if stored.key == wanted:
                case_id = challenger.case_id(_challenge(stored))
                filed = await self._cases.find(case_id) if case_id is not None else None
                return {"challenge": _row_json(stored), "case": case_json(filed) if filed else None}
        fitting = [
            filed
            for filed in await self._cases.newest(MAX_LISTED)
            if hexadecimal(filed.case.case_id).startswith(wanted) or hexadecimal(filed.case.deal_id) == wanted
        ]
        if len(fitting) != 1 or len(wanted) < 6:
            raise Refused(f"{name[:80]!a} fits {len(fitting)} cases: `capanode challenge list` shows them")
        own = [one for one in await self._journal.deals(Side.CHALLENGER, MAX_LISTED) if _is_about(one, fitting[0].case)]
        return {"challenge": _row_json(own[0]) if own else None, "case": case_json(fitting[0])}

    async def _open(self, deal: str, arguments: Json) -> Json:
        deal_id = deal_id_of(deal)
        if deal_id is None:
            raise Refused(f"{deal[:80]!a} is no deal's id: 0x and 64 hex digits")
        key, reason = await self._begun(deal_id, arguments)
        if key is None:
            raise Refused(reason)
        stored = self._agent.find(key) or await self._journal.find(key)
        assert stored is not None
        return {"challenge": _row_json(stored)}

    async def _begun(self, deal_id: DealId, arguments: Json) -> tuple[str | None, str]:
        disputing, appetite = self._disputes.disputing, self._disputes.appetite
        match [name for name in GROUNDS if name in arguments]:
            case ["step"]:
                return await disputing.dispute_step(deal_id, _number(arguments, "step"), appetite)
            case ["data"]:
                return await disputing.dispute_data(deal_id, _number(arguments, "data"), appetite)
            case ["spec"]:
                return await disputing.expose(deal_id, _number(arguments, "spec"), appetite)
            case ["leaves"]:
                return await disputing.dispute_withheld(deal_id, appetite)
            case _:
                raise Refused(f"a challenge is about one of these: {', '.join(GROUNDS)}")


def _told_json(told: Finding | Passed) -> Json:
    if isinstance(told, Passed):
        return {"deal_id": hexadecimal(told.deal_id), "verdict": "passed", "reason": told.reason}
    return finding_json(told)


def finding_json(found: Finding) -> Json:
    """What came of looking at a deal."""
    return {
        "deal_id": hexadecimal(found.deal_id),
        "verdict": found.verdict,
        "step": found.step,
        "bond_wei": found.bond_wei,
        "bounty_wei": found.bounty_wei,
        "gas_wei": found.gas_wei,
        "pulls_wei": found.pulls_wei,
        "cpu_wei": found.cpu_wei,
        "earned_wei": found.earned_wei,
        "challenge": found.challenge,
        "reason": found.reason,
    }


def case_json(filed: Filed) -> Json:
    """A case as its logs have left it."""
    case = filed.case
    settled = case.settled
    return {
        "case_id": hexadecimal(case.case_id),
        "deal_id": hexadecimal(case.deal_id),
        "market": hexadecimal(filed.market),
        "kind": case.kind.name,
        "step": case.step,
        "phase": case.phase.name,
        "verdict": case.verdict.name,
        "opened_at": case.opened.at,
        "challengers": [
            {"address": hexadecimal(one.address), "bond_wei": one.bond_wei, "has_shown": one.has_shown}
            for one in case.challengers
        ],
        "rounds": [
            {
                "round": one.number,
                "arbiters": [hexadecimal(address) for address in one.arbiters],
                "vote_by": one.vote_by,
                "votes": [{"seat": seat, "vote": vote.name} for seat, vote, _ in one.revealed],
                "is_paid": one.is_paid,
            }
            for one in case.committees
        ],
        "appeal_by": case.appeal_by or None,
        "fee_wei": settled.fee_wei if settled else None,
        "bounty_wei": settled.bounty_wei if settled else None,
        "burned_wei": settled.burned_wei if settled else None,
    }


def _row_json(stored: Stored) -> Json:
    state: Any = stored.state
    shared = {
        "name": stored.key,
        "phase": type(state).__name__,
        "has_ended": isinstance(state, machines.Ended),
        "since": stored.updated_at,
    }
    if isinstance(state, challenger.State):
        case_id = challenger.case_id(state)
        return {
            **shared,
            "deal_id": hexadecimal(challenger.deal_id(state)),
            "case_id": hexadecimal(case_id) if case_id is not None else None,
            "kind": state.contest.kind.name,
            "step": state.contest.step,
            "reason": state.reason if isinstance(state, challenger.Withdrawn) else state.contest.reason,
        }
    assert isinstance(state, arbiter.State)
    return {
        **shared,
        "case_id": hexadecimal(state.call.case_id),
        "round": state.call.round,
        "vote": state.judged.vote.name if isinstance(state, _Voted) else None,
        "reason": state.reason if isinstance(state, arbiter.Released | arbiter.Missed) else "",
    }


def _challenge(stored: Stored) -> challenger.State:
    assert isinstance(stored.state, challenger.State)
    return stored.state


def _is_about(stored: Stored, case: Case) -> bool:
    return challenger.case_id(_challenge(stored)) == case.case_id


def _appetite(usual: Appetite, arguments: Json) -> Appetite:
    """The operator's, with what the caller wants otherwise."""
    sample = arguments.get("sample_ppm")
    dry = arguments.get("dry_run")
    if sample is not None and not (isinstance(sample, int) and 0 <= sample <= 1_000_000):
        raise Refused("the sampling rate is in parts per million, 0 to 1000000")
    return replace(
        usual,
        sample_ppm=usual.sample_ppm if sample is None else Ppm(sample),
        is_dry=usual.is_dry if not isinstance(dry, bool) else dry,
    )


def _arbiters(arguments: Json) -> tuple[Address, ...]:
    """Those of a named set, in whatever order."""
    named: object = arguments.get("arbiters")
    if not isinstance(named, list) or len(cast(list[object], named)) > MOST_NAMED:
        raise Refused(f"a named set is a list of 1 to {MOST_NAMED} addresses")
    try:
        return in_order([address_of(str(one)) for one in cast(list[object], named)])
    except ValueError as error:
        raise Refused(str(error)) from error


def _text(arguments: Json, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise Refused(f"the call needs {name} as text")
    return value


def _number(arguments: Json, name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Refused(f"the call needs {name} as a number")
    return value
