"""From a user's job file to a demand: inputs taken in, image pinned, spec and terms made."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from capanode.node.announced.intake import Intake, sha256_of
from capanode.node.announced.judges import Judged, Judges
from capanode.node.announced.locator import locator_of
from capanode.node.announced.market_choice import MarketChoice
from capanode.node.api.port import JobOrder, Json
from capanode.node.bid.auction import AuctionTimes, handover_s
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.markets import MarketVersion
from capanode.node.jobfile.job_file import CidInput, InputSource, JobFile, LocalInput, UrlInput
from capanode.node.jobfile.parse import parse
from capanode.node.p2p.port import Network
from capanode.node.salts import new_salt
from capanode.node.storage.blobs import BlobStore
from capanode.node.units import tokens
from capanode.proofs.evidence import why_private
from capanode.proofs.tree import input_root
from capanode.protocol.events import DemandRenewed, JobSubmitted
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, DealId, Ppm, UnixTime, Wei
from capanode.protocol.judging import JUDGED, Rules
from capanode.protocol.money import ARBITER_FEE_WEI, bond_wei, deadline_bond_wei, verification_deposit_wei
from capanode.protocol.records import (
    Demand,
    Image,
    Input,
    Mode,
    RegistryImage,
    Spec,
    Terms,
    VerificationClass,
)
from capanode.protocol.requester import Order
from capanode.protocol.tariff import TARIFF
from capanode.protocol.typed_data import Domain, announcement_deal_id, digest_of_demand, spec_digest
from capanode.scheduler.judges import step_limit
from capanode.scheduler.windows import least_window_s, transfer_s

DEMAND_LIFE_S: Final = 600
"""How long a demand is spread before the attempt is given up."""

KEEP_INPUTS_S: Final = 7 * 86_400
"""Inputs stay in the requester's store for so long after they were taken in."""

ATTEMPTS: Final = 3
"""Providers that are tried in turn before a job has failed."""


@dataclass(frozen=True, slots=True)
class BuyingTerms:
    """What a requester's node adds to every job: who buys, at which times and rates."""

    requester: Address
    transfer_bytes_per_s: int
    slack_s: int
    audit_rate_ppm: Ppm
    target_price_wei: Wei
    max_price_wei: Wei | None
    times: AuctionTimes


@dataclass(frozen=True, slots=True)
class TakenIn:
    """A job and the market that it is for."""

    event: JobSubmitted
    market: Address
    judged: Judged
    replicas: int = 1
    """How many providers are to do it, each for the price in `event`."""


class Submission:
    """Takes jobs in for one requester."""

    def __init__(
        self,
        terms: BuyingTerms,
        markets: MarketChoice,
        judges: Judges,
        network: Network,
        blobs: BlobStore,
        clock: ChainClock,
    ) -> None:
        self._terms = terms
        self._markets = markets
        self._judges = judges
        self._network = network
        self._blobs = blobs
        self._intake = Intake(blobs)
        self._clock = clock

    def locator(self) -> bytes:
        """Where bidders find this node, for an announcement's event."""
        return locator_of(self._network.peer_id, self._network.addresses())

    async def take_in(self, order: JobOrder) -> AsyncIterator[Json | TakenIn]:
        """Progress while inputs and image are taken in, last the job.

        Raises:
            Misconfigured: the job file is wrong.
            Refused: an input or the image cannot be had or pinned, or the job costs more than may be spent, or than
                the escrow of any market holds.
        """
        job = parse(order.text, path=order.name or "the job file")
        self._check_price(job)
        folder = Path(order.folder)
        inputs: list[Input] = []
        for name, source in job.inputs:
            yield {"progress": {"doing": f"taking in {name}", "done_bytes": 0, "total_bytes": 0}}
            inputs.append(await self._input(name, source, folder))
        yield {"progress": {"doing": "checking the image", "done_bytes": 0, "total_bytes": 0}}
        image = await self._image(order.image or job.image, folder)
        spec = Spec(
            image=image,
            argv=job.argv,
            env=tuple(sorted(job.env)),
            inputs=tuple(sorted(inputs, key=lambda item: item.name)),
            resources=job.resources,
            verification=job.verification,
            deterministic_stdout=job.deterministic_stdout,
            steps=job.steps,
            comparator=job.comparator,
        )
        mode = _mode(order)
        if job.replicas > 1 and mode is Mode.FIRST:
            raise Refused("a replicated job has to choose its providers: leave `--policy first` out")
        fee = TARIFF.arbiter_fee_up_wei(job.price_cap_wei, step_limit(spec))
        needed = Wei(job.replicas * (job.price_cap_wei + verification_deposit_wei(fee, job.verification)))
        market = await self._markets.choose(needed)
        judged = await self._judges.choose(
            market, spec, job.hardware_class, job.price_cap_wei, self._audit_rate(job), job.named
        )
        if judged.named is not None:
            spec = replace(spec, hardware_class=judged.hardware_class)
        yield {"note": judged.sentence}
        yield {"note": readers(spec, judged.rules)}
        if job.replicas > 1:
            yield {"note": in_all(job.replicas, job.price_cap_wei)}
        demand, announcement = self._demand(job, spec, mode, market, judged)
        event = JobSubmitted(
            name=order.name or job.name or "job",
            spec=spec,
            demand=demand,
            announcement=announcement,
            target_price_wei=self._terms.target_price_wei,
            attempts=ATTEMPTS,
            auto_accept=order.accept == "auto",
        )
        yield TakenIn(event, market.address, judged, job.replicas)

    async def make_known(self, job: TakenIn) -> None:
        """Tell the court who would judge, where the job names its arbiters and it does not know them yet.

        Raises:
            Refused: the court refuses it.
            Unavailable: no endpoint answers.
        """
        await self._judges.make_known(self._markets.of(job.market), job.judged)

    def quote(self, job: TakenIn) -> Json:
        """What the job may cost its requester at most, and what a provider has to risk for it."""
        demand = job.event.demand
        return {
            "market": f"0x{job.market.hex()}",
            "price_cap_wei": demand.price_cap_wei,
            "replicas": job.replicas,
            "verification_wei": demand.verification_wei,
            "deadline_bond_wei": deadline_bond_wei(demand.price_cap_wei),
            "fraud_bond_wei": bond_wei(demand, demand.price_cap_wei),
            "judged_by": job.judged.sentence,
            "readers": readers(job.event.spec, demand.rules),
            "is_disputable": demand.rules is not None,
            "mode": demand.mode.name,
            "window_s": demand.window_s,
            "commit_within_s": demand.commit_within_s,
        }

    def renew(self, order: Order | JobSubmitted, market: Address) -> DemandRenewed:
        """The same demand in the same market, under a new salt and new deadlines."""
        shifted = replace(
            order.demand,
            expires_at=UnixTime(self._clock.now() + DEMAND_LIFE_S),
            salt=new_salt(),
            addresses=self._network.addresses()[:8],
        )
        demand, announcement = self._announced(shifted, self._markets.of(market).domain)
        return DemandRenewed(demand, announcement)

    def _check_price(self, job: JobFile) -> None:
        limit, cap = self._terms.max_price_wei, Wei(job.replicas * job.price_cap_wei)
        if limit is not None and cap > limit:
            each = f" for {job.replicas} replicas" if job.replicas > 1 else ""
            raise Refused(
                f"the price cap of {tokens(cap)} tokens{each} is above this node's limit of {tokens(limit)}: "
                "lower price_cap in the job file, or raise max_price_tokens in the config"
            )

    async def _input(self, name: str, source: InputSource, folder: Path) -> Input:
        match source:
            case LocalInput():
                taken = await trio.to_thread.run_sync(self._intake.file, name, folder / source.path, self._until())
                return Input(name, taken.sha256, taken.size_bytes, taken.cid, None)
            case CidInput():
                if not self._blobs.has(source.cid):
                    raise Refused(
                        f"the input {name} names {source.cid}, which is not in this node's store: give a path"
                    )
                path = self._blobs.path(source.cid)
                digest, size = await trio.to_thread.run_sync(sha256_of, path)
                return Input(name, digest, size, source.cid, None)
            case UrlInput():
                if source.size_bytes is None:
                    raise Refused(f"the input {name} does not state its size: add size_bytes beside its url")
                return Input(name, source.sha256, source.size_bytes, None, source.url)

    async def _image(self, text: str, folder: Path) -> Image:
        if "@sha256:" in text:
            try:
                return Image(RegistryImage(text), None)
            except ValueError as error:
                raise Refused(f"{error}: {text[:120]}") from error
        path = folder / text
        if not await trio.Path(path).is_file():
            raise Refused(
                f"the image {text[:120]!r} is not pinned: give name@sha256:…, or the path of an archive made by "
                "`docker save`; `capanode run` and `capanode job submit` pin a tag where an engine is at hand"
            )
        return Image(None, await trio.to_thread.run_sync(self._intake.archive, path, self._until()))

    def _until(self) -> UnixTime:
        return UnixTime(self._clock.now() + KEEP_INPUTS_S)

    def _audit_rate(self, job: JobFile) -> Ppm:
        """The share of such results that is recomputed; nothing is where nothing is judged."""
        audited = job.verification in JUDGED
        return (job.audit_rate_ppm or self._terms.audit_rate_ppm) if audited else Ppm(0)

    def _demand(
        self, job: JobFile, spec: Spec, mode: Mode, market: MarketVersion, judged: Judged
    ) -> tuple[Demand, Terms | None]:
        terms = self._terms
        moved = sum(item.size_bytes for item in spec.inputs)
        image_bytes = spec.image.archive.size_bytes if spec.image.archive is not None else 0
        handover = transfer_s(moved + image_bytes, terms.transfer_bytes_per_s)
        least = least_window_s(
            market.clocks.window_floor_s,
            spec.resources.timeout_s,
            moved + image_bytes,
            terms.transfer_bytes_per_s,
            spec.verification,
        )
        if job.window_s is not None and job.window_s < least:
            raise Refused(f"the window of {job.window_s} s is too short to challenge in: state {least} s or more")
        demand = Demand(
            requester=terms.requester,
            peer=self._network.peer_id,
            addresses=self._network.addresses()[:8],
            spec=spec_digest(spec),
            input_root=input_root(spec.inputs),
            first_step=0,
            step_limit=step_limit(spec),
            verification=spec.verification,
            hardware_class=judged.hardware_class,
            resources=spec.resources,
            image_bytes=image_bytes,
            input_bytes=moved,
            price_cap_wei=job.price_cap_wei,
            verification_wei=verification_deposit_wei(
                ARBITER_FEE_WEI if judged.rules is None else judged.rules.arbiter_fee_wei, spec.verification
            ),
            audit_rate_ppm=self._audit_rate(job),
            window_s=job.window_s or least,
            commit_within_s=job.deadline_s or spec.resources.timeout_s + handover + terms.slack_s,
            retention_s=job.retention_s,
            mode=mode,
            # An announced demand gets its own id just below, from the terms that are made of it.
            deal_id=None if mode is Mode.LOCK else DealId(ZERO_DIGEST),
            expires_at=UnixTime(self._clock.now() + DEMAND_LIFE_S),
            salt=new_salt(),
            rules=judged.rules,
            arbiters=judged.named.arbiters if judged.named is not None else None,
        )
        return self._announced(demand, market.domain)

    def _announced(self, demand: Demand, at: Domain) -> tuple[Demand, Terms | None]:
        """The demand with the deal id of its announcement, where it goes on chain."""
        if demand.mode not in (Mode.AWARD, Mode.FIRST):
            return demand, None
        terms = self._terms
        open_s = int(terms.times.bid_window_s) + terms.times.assign_within_s + handover_s(demand)
        assign_by = UnixTime(self._clock.now() + open_s)
        announcement = Terms(
            requester=demand.requester,
            provider=ZERO_ADDRESS,
            demand_digest=digest_of_demand(demand),
            price_wei=demand.price_cap_wei,
            verification_wei=demand.verification_wei,
            fraud_bond_wei=bond_wei(demand, demand.price_cap_wei),
            assign_by=assign_by,
            commit_by=UnixTime(assign_by + demand.commit_within_s),
            window_s=demand.window_s,
            mode=demand.mode,
            salt=demand.salt,
        )
        deal_id = announcement_deal_id(at, announcement)
        return replace(demand, deal_id=deal_id, expires_at=assign_by), announcement


def in_all(replicas: int, price_cap_wei: Wei) -> str:
    """What a replicated job costs and what it is worth, in a sentence for its requester."""
    most = tokens(Wei(replicas * price_cap_wei))
    return (
        f"{replicas} different providers do it and each is paid, {most} tokens in all at most; one whose result is not "
        "the majority's is named, but paid as well, after its window: no court can judge it"
    )


def readers(spec: Spec, rules: Rules | None) -> str:
    """Who will be able to read a job, in a sentence for its requester."""
    if spec.verification is VerificationClass.REPLICATED:
        return "the job's providers can read it, nobody else: they must not see each other's results"
    if why_private(spec, rules):
        return "the job's provider can read it, nobody else: its evidence is not published"
    return "the job's provider can read it; once the result is committed, everybody can: so anybody can check it"


def _mode(order: JobOrder) -> Mode:
    match order.announce, order.policy:
        case "gossip", _:
            return Mode.LOCK
        case "chain", "first":
            return Mode.FIRST
        case "chain", "award":
            return Mode.AWARD
        case _:
            raise Refused(
                f"a job is announced by gossip or on chain, not {order.announce[:20]!r}/{order.policy[:20]!r}"
            )
