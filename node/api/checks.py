"""Checking committed results, as a user asks for it: anybody's deal, by its id."""

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Final

from capanode.node.api.port import Json
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.markets import Markets
from capanode.node.chain.wire import hexadecimal
from capanode.node.challenged.checking import Check, Checker, Choose, StepCheck, Verdict
from capanode.node.challenged.committed_trace import CommittedTrace, LeafForbidden, LeavesWithheld
from capanode.node.challenged.evidence import Found
from capanode.proofs.trace import leaf_hash
from capanode.protocol.faults import Refused
from capanode.protocol.ids import DealId
from capanode.protocol.phases import Phase
from capanode.protocol.tariff import TARIFF

_DEAL_ID: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_OPEN: Final = frozenset({Phase.COMMITTED, Phase.CHALLENGED})


class Checks:
    """The part of `NodeApi` that recomputes what others have committed to."""

    def __init__(self, checker: Checker, markets: Markets, clock: ChainClock) -> None:
        self._checker = checker
        self._markets = markets
        self._clock = clock

    async def check(self, deal_id: DealId, choose: Choose) -> AsyncIterator[Json]:
        """As `NodeApi.check`."""
        yield {"progress": {"doing": "fetching the evidence", "step": None, "done": 0, "of": 0}}
        try:
            trace = await self._checker.trace_of(deal_id)
        except LeavesWithheld as withheld:
            yield {"check": self._unchecked_json(withheld.found, "withheld", None, str(withheld))}
            return
        except LeafForbidden as wrong:
            yield {"check": self._unchecked_json(wrong.found, "forbidden", wrong.leaf.position, str(wrong))}
            return
        chosen, done = tuple(choose(trace.steps)), list[StepCheck]()
        for index in chosen:
            yield {"progress": {"doing": "recomputing", "step": index, "done": len(done), "of": len(chosen)}}
            done.append(await self._checker.check_step(trace, index))
            if done[-1].verdict is not Verdict.HOLDS:
                break
        yield {"check": self._json(Check(trace, tuple(done)))}

    def _json(self, check: Check) -> Json:
        trace = check.trace
        return {
            **self._deal_json(trace.found),
            "verdict": check.verdict.value,
            "reason": "",
            "checked": [_step_json(trace, one) for one in check.steps],
            "divergent_step": check.divergent.index if check.divergent else None,
            "position": None,
        }

    def _unchecked_json(self, found: Found, verdict: str, position: int | None, reason: str) -> Json:
        """Nothing is recomputed: a leaf speaks against itself, or a trace could only be computed whole."""
        said = {"verdict": verdict, "reason": reason, "position": position}
        return {**self._deal_json(found), **said, "checked": [], "divergent_step": None}

    def _deal_json(self, found: Found) -> Json:
        evidence, slot = found.evidence, found.slot
        return {
            "deal_id": hexadecimal(evidence.deal_id),
            "market": hexadecimal(evidence.market),
            "requester": hexadecimal(evidence.terms.requester),
            "provider": hexadecimal(evidence.terms.provider),
            "price_wei": evidence.terms.price_wei,
            "phase": slot.phase.name,
            "class": evidence.spec.verification.value,
            "hardware_class": evidence.hardware_class,
            "first_step": evidence.first_step,
            "steps": evidence.step_count,
            "challenge": self._challenge_json(found),
        }

    def _challenge_json(self, found: Found) -> Json:
        """What a challenge would lock, and what it would bring to one that is right."""
        evidence, slot = found.evidence, found.slot
        terms, rules = evidence.terms, evidence.rules
        why_not = self._why_not(found)
        return {
            "is_possible": not why_not,
            "why_not": why_not,
            "until": slot.deadline if slot.phase in _OPEN else None,
            "bond_wei": TARIFF.challenger_bond_wei(rules.arbiter_fee_wei) if rules else 0,
            "bounty_wei": TARIFF.bounty_wei(terms.price_wei, terms.fraud_bond_wei) if rules else 0,
        }

    def _why_not(self, found: Found) -> str:
        evidence, slot = found.evidence, found.slot
        market = self._markets.find(evidence.market)
        if market is None or not market.is_disputable:
            return "its market has no court"
        if evidence.rules is None:
            return "its terms name no rules of judging"
        if slot.phase not in _OPEN:
            return f"the deal has ended: {slot.phase.name}"
        if self._clock.now() > slot.deadline:
            return "its window is over"
        return ""


def deal_id_of(text: str) -> DealId | None:
    """The deal id that a text spells, None for any other text."""
    return DealId(bytes.fromhex(text[2:])) if _DEAL_ID.fullmatch(text) else None


def chosen_by(step: int | None, sample: int | None) -> Choose:
    """All steps, one, or so many by chance; raises `Refused` for both at once."""
    if step is not None and sample is not None:
        raise Refused("either one step is checked or a sample of them: leave one of the two out")
    if step is not None:
        return lambda _: (step,)
    if sample is not None:
        return lambda steps: _drawn(steps, sample)
    return tuple


def _drawn(steps: range, count: int) -> Sequence[int]:
    return sorted(secrets.SystemRandom().sample(steps, min(count, len(steps))))


def _step_json(trace: CommittedTrace, one: StepCheck) -> Json:
    deal_id = trace.found.evidence.deal_id
    return {
        "step": one.index,
        "verdict": one.verdict.value,
        "committed_leaf": hexadecimal(leaf_hash(deal_id, one.committed)),
        "computed_leaf": hexadecimal(leaf_hash(deal_id, one.computed)),
        "reasons": list(one.reasons),
        "files": [{"path": path, "reason": reason} for path, reason in one.findings],
    }
