"""An arbiter's standing in the pools: enrolling, leaving, and the fees that were earned."""

from collections.abc import Callable
from typing import Final

import structlog
import trio

from capanode.node.api.port import Json
from capanode.node.chain import court as courts
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.court import ArbiterState, Duty
from capanode.node.chain.courts import Courts, CourtVersion
from capanode.node.chain.orders import Orders
from capanode.node.chain.pools import make_known
from capanode.node.chain.sender import Sender
from capanode.node.chain.wire import hexadecimal
from capanode.node.challenged.named_sets import NamedSets
from capanode.protocol.events import TransactionRefused
from capanode.protocol.faults import Fault, InvariantViolated, Refused
from capanode.protocol.ids import Address, Digest, Wei
from capanode.protocol.judging import class_pool, named_pool

LOOK_S: Final = 30.0
"""How often stake that has become old enough is looked for."""

log = structlog.get_logger()


class Enrolment:
    """The arbiter side of one wallet, in the newest market that has a court."""

    def __init__(
        self,
        courts_known: Courts,
        sender: Sender,
        wallet: Address,
        clock: ChainClock,
        hardware_class: str,
        named_sets: NamedSets,
        orders: Callable[[Sender, Address], Orders] = Orders,
    ) -> None:
        self._courts = courts_known
        self._sender = sender
        self._wallet = wallet
        self._clock = clock
        self._hardware_class = hardware_class
        self._named_sets = named_sets
        self._orders = orders

    async def show(self) -> Json:
        """Stake, fees and duty in the pool of this machine's class, and the named sets of its duties and fees.

        Raises:
            Refused: no market has a court.
        """
        place = self._place()
        pool = class_pool(self._hardware_class)
        state, whole = await place.pools.arbiter(pool, self._wallet), await place.pools.pool(pool)
        return {
            "arbiter": hexadecimal(self._wallet),
            "hardware_class": self._hardware_class,
            "duty": state.duty.name.lower(),
            "stake_wei": state.stake_wei,
            "fees_wei": state.fees_wei,
            "ready_at": state.ready_at or None,
            "pool_active": whole.active,
            "pool_stake_wei": whole.stake_wei,
            "min_stake_wei": place.clocks.min_stake_wei,
            "named_sets": await self._sets_json(place),
        }

    async def _sets_json(self, place: CourtVersion) -> list[Json]:
        served = [await self._set_json(place, arbiters, serves=True) for arbiters in self._named_sets.all()]
        left = [await self._set_json(place, arbiters, serves=False) for arbiters in self._named_sets.left()]
        return served + [one for one in left if one["fees_wei"]]

    async def _set_json(self, place: CourtVersion, arbiters: tuple[Address, ...], *, serves: bool) -> Json:
        pool = named_pool(arbiters)
        return {
            "pool": hexadecimal(pool),
            "arbiters": [hexadecimal(one) for one in arbiters],
            "fees_wei": (await place.pools.arbiter(pool, self._wallet)).fees_wei,
            "serves": serves,
        }

    async def serve(self, arbiters: tuple[Address, ...]) -> Json:
        """Judge in a named set from now on, and have the court know it; idempotent, stakes nothing.

        Raises:
            Refused: this wallet is not in it, or the court does not take it.
        """
        place = self._place()
        if self._wallet not in arbiters:
            raise Refused(f"this node's wallet {hexadecimal(self._wallet)} is not among these arbiters: name it too")
        await make_known(self._orders(self._sender, place.pools.address), arbiters)
        await self._named_sets.agree(arbiters)
        return await self.show()

    async def retire(self, arbiters: tuple[Address, ...]) -> Json:
        """Judge in a named set no more, but for duties that have begun.

        Raises:
            Refused: this node does not serve in it.
        """
        if self._named_sets.find(named_pool(arbiters)) is None:
            raise Refused("this node does not serve in that named set: `capanode wallet arbiter show` lists them")
        await self._named_sets.leave(arbiters)
        return await self.show()

    async def call(self, verb: str, request: str, amount_wei: Wei) -> Json:
        """Enroll, leave (begin, then take the stake once the wait is over), or collect fees; once under one request.

        Raises:
            Refused: the court refuses it, with the reason.
        """
        place, pool = self._place(), class_pool(self._hardware_class)
        state = await place.pools.arbiter(pool, self._wallet)
        orders, effect = self._orders(self._sender, place.pools.address), f"arbiter/{request[:40]}"
        named = await self._earned(place) if verb == "collect" else ()
        if state.fees_wei or not named:
            _done(await orders.insist(effect, verb, self._data(verb, state, amount_wei)))
        for one in named:
            _done(await orders.insist(f"{effect}/{one.hex()}", verb, courts.collect(one)))
        return await self.show()

    async def _earned(self, place: CourtVersion) -> tuple[Digest, ...]:
        """The named sets that hold fees of this arbiter, those that it has left too."""
        pools = [named_pool(arbiters) for arbiters in (*self._named_sets.all(), *self._named_sets.left())]
        return tuple([pool for pool in pools if (await place.pools.arbiter(pool, self._wallet)).fees_wei])

    def _data(self, verb: str, state: ArbiterState, amount_wei: Wei) -> bytes:
        pool = class_pool(self._hardware_class)
        match verb:
            case "enroll":
                return courts.enroll(self._hardware_class, amount_wei)
            case "leave" if state.duty is Duty.LEAVING:
                return courts.leave(pool)
            case "leave":
                return courts.begin_leave(pool)
            case "collect":
                return courts.collect(pool)
            case _:
                raise Refused(f"an arbiter cannot {verb[:20]!a}: enroll, leave or collect")

    async def run(self) -> None:
        """Put this arbiter on duty as soon as its stake is old enough, until cancelled."""
        while True:
            try:
                await self._activate()
            except InvariantViolated:
                raise
            except Fault as fault:
                log.info("enrolment-waits", reason=str(fault))
            await trio.sleep(LOOK_S)

    async def _activate(self) -> None:
        pool = class_pool(self._hardware_class)
        for place in self._courts.all():
            state = await place.pools.arbiter(pool, self._wallet)
            if state.duty is Duty.WAITING and state.ready_at <= self._clock.now():
                orders = self._orders(self._sender, place.pools.address)
                effect = f"arbiter/{pool.hex()}/{state.ready_at}"
                await orders.eventually(effect, "activate", courts.activate(pool, self._wallet))

    def _place(self) -> CourtVersion:
        known = self._courts.all()
        if not known:
            raise Refused("no market of this network has a court, so there is nothing to judge")
        return known[-1]


def _done(refused: TransactionRefused | None) -> None:
    if refused is not None:
        raise Refused(refused.reason)
