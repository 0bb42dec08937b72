"""Who judges a job that is about to be sent: the rules in its demand, and a sentence about them for its requester."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from capanode.node.chain.markets import MarketVersion
from capanode.node.units import tokens
from capanode.protocol.ids import Digest, Ppm, Wei
from capanode.protocol.judging import Rules, VerificationClass, class_pool
from capanode.protocol.records import Spec
from capanode.protocol.tariff import TARIFF
from capanode.scheduler.feasibility import NOT_DISPUTABLE
from capanode.scheduler.hardware import ANY
from capanode.scheduler.judges import at_stake_wei, class_rules, step_limit

CanJudge = Callable[[MarketVersion, Digest, int, Wei], Awaitable[bool]]
"""Whether the court of a market lets a pool, with a quorum, judge so much money; False where there is no court."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How a job can be disputed; without rules not at all, and `sentence` says why."""

    rules: Rules | None
    hardware_class: str
    """The class that has to do the job: arbiters judge their own class only."""

    sentence: str


class Judges:
    """Chooses for one requester; `classes` are the hardware classes that were heard of, the likeliest first."""

    def __init__(self, can_judge: CanJudge, classes: Callable[[], Iterable[str]]) -> None:
        self._can_judge = can_judge
        self._classes = classes

    async def choose(
        self, market: MarketVersion, spec: Spec, hardware_class: str, price_cap_wei: Wei, audit_rate_ppm: Ppm
    ) -> Judged:
        """The rules for a job whose file asks for `hardware_class`, or for none.

        Raises:
            Unavailable: no endpoint answers.
        """
        match spec.verification:
            case VerificationClass.NONE:
                return Judged(None, hardware_class, "class none: nothing of the result is verified")
            case VerificationClass.EXACT | VerificationClass.TOLERANCE if not market.is_disputable:
                return Judged(None, hardware_class, NOT_DISPUTABLE)
            case VerificationClass.EXACT | VerificationClass.TOLERANCE:
                return await self._by_class(market, spec, hardware_class, price_cap_wei, audit_rate_ppm)
            case VerificationClass.REPLICATED:
                return Judged(
                    None, hardware_class, "class replicated: nobody judges it, the majority of its results counts"
                )

    async def _by_class(
        self, market: MarketVersion, spec: Spec, hardware_class: str, price_cap_wei: Wei, audit_rate_ppm: Ppm
    ) -> Judged:
        fee = TARIFF.arbiter_fee_up_wei(price_cap_wei, step_limit(spec))
        at_stake = at_stake_wei(price_cap_wei, audit_rate_ppm, fee)
        asked = (hardware_class,) if hardware_class != ANY else tuple(self._classes())
        if spec.resources.gpu is not None and hardware_class == ANY:
            return Judged(None, ANY, "not disputable: name the GPU's class as hardware_class, so that its own judge it")
        for found in asked:
            if await self._can_judge(market, class_pool(found), 0, at_stake):
                rules = class_rules(spec, found, audit_rate_ppm, fee)
                judged = f"class {spec.verification}: arbiters of {found} judge disputed steps"
                return Judged(rules, found, f"{judged}, for {tokens(fee)} tokens each")
        return Judged(
            None,
            hardware_class,
            f"not disputable: no class of arbiters is large enough for {tokens(at_stake)} tokens at stake; "
            "lower price_cap, or wait for more arbiters",
        )
