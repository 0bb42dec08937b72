"""Who judges a job that is about to be sent: the rules in its demand, and a sentence about them for its requester."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from capanode.node.chain.markets import MarketVersion
from capanode.node.units import tokens
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Digest, Ppm, Wei
from capanode.protocol.judging import Rules, VerificationClass, class_pool
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import Spec
from capanode.protocol.tariff import TARIFF
from capanode.scheduler.feasibility import NOT_DISPUTABLE
from capanode.scheduler.hardware import ANY
from capanode.scheduler.judges import at_stake_wei, class_rules, named_rules, shared_fee_wei, step_limit

CanJudge = Callable[[MarketVersion, Digest, int, Wei], Awaitable[bool]]
"""Whether the court of a market lets a pool, with a quorum, judge so much money; False where there is no court."""

NameSet = Callable[[MarketVersion, tuple[Address, ...]], Awaitable[None]]
"""Makes a named set known to a market's court."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How a job can be disputed; without rules not at all, and `sentence` says why."""

    rules: Rules | None
    hardware_class: str
    """The class that has to do the job: arbiters judge their own class only."""

    sentence: str
    named: NamedSet | None = None
    is_known: bool = True
    """Whether the court knows the named set; else it has to be told before anybody can bid."""


class Judges:
    """Chooses for one requester; `classes` are the hardware classes that were heard of, the likeliest first."""

    def __init__(
        self, can_judge: CanJudge, classes: Callable[[], Iterable[str]], wallet: Address, name_set: NameSet
    ) -> None:
        self._can_judge = can_judge
        self._classes = classes
        self._wallet = wallet
        self._name_set = name_set

    async def choose(
        self,
        market: MarketVersion,
        spec: Spec,
        hardware_class: str,
        price_cap_wei: Wei,
        audit_rate_ppm: Ppm,
        named: NamedSet | None = None,
    ) -> Judged:
        """The rules for a job whose file asks for `hardware_class`, or for none, and names its arbiters, or not.

        Raises:
            Refused: its own requester is one of them, or nobody can say on which machines they are to judge.
            Unavailable: no endpoint answers.
        """
        match spec.verification:
            case VerificationClass.NONE:
                return Judged(None, hardware_class, "class none: nothing of the result is verified")
            case VerificationClass.EXACT | VerificationClass.TOLERANCE if not market.is_disputable:
                return Judged(None, hardware_class, NOT_DISPUTABLE)
            case VerificationClass.EXACT | VerificationClass.TOLERANCE if named is not None:
                return await self._by_named(market, spec, named, hardware_class, price_cap_wei, audit_rate_ppm)
            case VerificationClass.EXACT | VerificationClass.TOLERANCE:
                return await self._by_class(market, spec, hardware_class, price_cap_wei, audit_rate_ppm)
            case VerificationClass.REPLICATED:
                return Judged(
                    None, hardware_class, "class replicated: nobody judges it, the majority of its results counts"
                )

    async def make_known(self, market: MarketVersion, judged: Judged) -> None:
        """Tell the court who is in a named set, once for all jobs that name it.

        Raises:
            Refused: the court refuses it, with the reason.
            Unavailable: no endpoint answers.
        """
        if judged.named is not None and not judged.is_known:
            await self._name_set(market, judged.named.arbiters)

    async def _by_named(
        self,
        market: MarketVersion,
        spec: Spec,
        named: NamedSet,
        hardware_class: str,
        price_cap_wei: Wei,
        audit_rate_ppm: Ppm,
    ) -> Judged:
        if self._wallet in named.arbiters:
            raise Refused("this node's own wallet is one of the arbiters that the job names: name others")
        found = hardware_class
        if found == ANY and spec.resources.gpu is not None:
            raise Refused("name the GPU's class as hardware_class, so that the named arbiters know what to judge by")
        if found == ANY:
            found = next(iter(self._classes()))
        fee = TARIFF.arbiter_fee_up_wei(price_cap_wei, step_limit(spec))
        at_stake = at_stake_wei(price_cap_wei, audit_rate_ppm, fee)
        count = len(named.arbiters)
        return Judged(
            named_rules(spec, named, found, audit_rate_ppm, fee),
            found,
            f"class {spec.verification}: of {count} named arbiters {named.quorum} have to agree on disputed steps, on "
            f"machines of {found}, for {tokens(shared_fee_wei(fee, count))} tokens each or more; only providers that "
            "know so many of them take the job",
            named,
            await self._can_judge(market, named.pool, named.quorum, at_stake),
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
            "lower price_cap, name arbiters (verification.arbiters), choose class replicated, or wait for more of them",
        )
