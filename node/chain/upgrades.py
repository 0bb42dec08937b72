"""Takes up new versions of the market while the node runs, and tells the operator of those that it does not take up.

A version is looked at when the directory publishes it, well before it is active. What is refused stays refused until
the operator approves its code; a release that ships it takes it up at its next start.
"""

import structlog
import trio

from capanode.node.alerts import Alerts, Occasion
from capanode.node.chain.approvals import Approvals
from capanode.node.chain.contracts import with_profile
from capanode.node.chain.markets import Markets, MarketVersion, Waiting
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.versions import Trust, survey_markets
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, Digest

FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0

log = structlog.get_logger()


class Upgrades:
    """What the directory's owner publishes, and what this node's operator says to it."""

    def __init__(
        self,
        rpc: Rpc,
        profile: NetworkProfile,
        markets: Markets,
        approvals: Approvals,
        alerts: Alerts,
        *,
        takes_shipped: bool,
    ) -> None:
        self._rpc = rpc
        self._profile = profile
        self._markets = markets
        self._approvals = approvals
        self._alerts = alerts
        self._takes_shipped = takes_shipped
        self._told: frozenset[Address] = frozenset()
        self._heard = trio.Event()
        self._one_look = trio.Lock()

    def hear(self) -> None:
        """Say that the directory may name something new."""
        self._heard.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look whenever something was heard, until cancelled; started after what the start found was told."""
        self._tell(self._markets.waiting)
        task_status.started()
        while True:
            await self._heard.wait()
            self._heard = trio.Event()
            await self._until_looked()

    async def approve(self, code_hash: Digest) -> None:
        """Trust code from now on, and take up what waited for it; durable, idempotent.

        Raises:
            Refused: no published version waits for it, or it cannot be taken up all the same.
            Unavailable: the chain does not answer; the approval holds, and is used as soon as it does.
        """
        waiting = [entry for entry in self._markets.waiting if entry.code_hash == code_hash]
        if not waiting:
            raise Refused(
                f"no version of the market waits for 0x{code_hash.hex()}: `capanode network upgrades` lists them"
            )
        await self._approvals.add(code_hash)
        self.hear()
        await self.look()
        for entry in self._markets.waiting:
            if entry.code_hash == code_hash:
                raise Refused(entry.reason)

    async def _until_looked(self) -> None:
        pause = FIRST_RETRY_S
        while True:
            try:
                await self.look()
                return
            except Unavailable as fault:
                log.warning("directory-unread", reason=str(fault), retry_s=pause)
            await trio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY_S)

    async def look(self) -> None:
        async with self._one_look:
            known = {version.address: version for version in self._markets.adopted()}
            trust = with_profile(Trust(await self._approvals.all(), self._takes_shipped), self._profile)
            survey = await survey_markets(self._rpc, self._profile.directory, trust, known)
            fresh = self._markets.learn(survey.adopted, survey.waiting)
        self._welcome(fresh)
        self._tell(survey.waiting)

    def _welcome(self, fresh: tuple[MarketVersion, ...]) -> None:
        for version in fresh:
            log.info(
                "market-taken-up",
                version=version.number,
                market=version.address.hex(),
                active_from=version.active_from,
            )
            self._alerts.raise_(
                Occasion.MARKET_TAKEN_UP,
                f"Version {version.number} of the market takes new deals from {version.active_from} (Unix time) on: "
                "move your money there with `capanode wallet migrate`.",
                {"version": version.number, "market": f"0x{version.address.hex()}", "at": version.active_from},
            )

    def _tell(self, waiting: tuple[Waiting, ...]) -> None:
        for entry in waiting:
            if entry.address not in self._told:
                log.warning("market-refused", version=entry.number, market=entry.address.hex(), reason=entry.reason)
                self._alerts.raise_(
                    Occasion.UPDATE_NEEDED,
                    entry.reason,
                    {"version": entry.number, "code_hash": f"0x{entry.code_hash.hex()}"},
                )
        self._told |= {entry.address for entry in waiting}
