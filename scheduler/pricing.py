"""What a job must earn: the cost of all that it may use, the margin, the load, the gas; never below the floor.

A price is fixed before the job runs, so it covers the whole time limit. Integers only; every division rounds up, so
that a provider never bids below its cost. Hours and GiB are the units of the rates, because people think in them.
"""

from dataclasses import dataclass
from typing import Final

from capanode.protocol.ids import Wei
from capanode.protocol.records import Demand

HOUR_S: Final = 3600
GIB: Final = 2**30
PPM: Final = 1_000_000
COIN: Final = 10**18
"""Base units in one coin of the chain; gas prices count them."""

_NOTHING: Final = Wei(0)


@dataclass(frozen=True, slots=True)
class Rates:
    """What an operator asks, in base units of the token.

    `tokens_per_coin_wei` is the worth of one coin of the chain; `load_ppm` the surcharge of a full node.
    """

    cpu_hour_wei: Wei
    memory_gib_hour_wei: Wei
    disk_gib_hour_wei: Wei
    gpu_hour_wei: Wei
    floor_wei: Wei
    tokens_per_coin_wei: Wei
    margin_ppm: int
    load_ppm: int
    transfer_gib_wei: Wei = _NOTHING

    def __post_init__(self) -> None:
        amounts = (
            self.cpu_hour_wei,
            self.memory_gib_hour_wei,
            self.disk_gib_hour_wei,
            self.gpu_hour_wei,
            self.floor_wei,
            self.tokens_per_coin_wei,
            self.transfer_gib_wei,
            self.margin_ppm,
            self.load_ppm,
        )
        if min(amounts) < 0:
            raise ValueError("a rate is negative")


@dataclass(frozen=True, slots=True)
class Gas:
    """What the provider's transactions of one deal need, and the price of gas in the coin's base units."""

    units: int
    price_wei: Wei


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a quote."""

    name: str
    amount_wei: Wei


@dataclass(frozen=True, slots=True)
class Quote:
    """A price and how it came about; the lines add up to it."""

    lines: tuple[Line, ...]

    @property
    def price_wei(self) -> Wei:
        """The sum of the lines."""
        return Wei(sum(line.amount_wei for line in self.lines))


def quote(demand: Demand, rates: Rates, gas: Gas, load_ppm: int) -> Quote:
    """The price of a job for a node that is `load_ppm` full."""
    costs = _costs(demand, rates)
    cost = sum(line.amount_wei for line in costs)
    margin = Line("margin", Wei(_div_up(cost * rates.margin_ppm, PPM)))
    load = Line("load", Wei(_div_up(cost * rates.load_ppm * load_ppm, PPM * PPM)))
    gas_cost = Line("gas", Wei(_div_up(gas.units * gas.price_wei * rates.tokens_per_coin_wei, COIN)))
    lines = (*costs, margin, load, gas_cost)
    # One base unit at least: a deal without a price has no deadline bond and would cost nothing to break.
    missing = max(rates.floor_wei, 1) - sum(line.amount_wei for line in lines)
    floor = Line("floor", Wei(max(missing, 0)))
    return Quote(tuple(line for line in (*lines, floor) if line.amount_wei))


def _costs(demand: Demand, rates: Rates) -> tuple[Line, ...]:
    needs = demand.resources
    seconds = needs.timeout_s
    kept_s = seconds + demand.retention_s
    moved_bytes = demand.image_bytes + demand.input_bytes + needs.disk_bytes
    gpus = 0 if needs.gpu is None else needs.gpu.count
    return (
        Line("cpu", _cost(rates.cpu_hour_wei, needs.cpu_millis * seconds, 1000 * HOUR_S)),
        Line("memory", _cost(rates.memory_gib_hour_wei, needs.memory_bytes * seconds, GIB * HOUR_S)),
        Line("gpu", _cost(rates.gpu_hour_wei, gpus * seconds, HOUR_S)),
        Line("disk", _cost(rates.disk_gib_hour_wei, needs.disk_bytes * kept_s, GIB * HOUR_S)),
        Line("transfer", _cost(rates.transfer_gib_wei, moved_bytes, GIB)),
    )


def _cost(rate_wei: Wei, amount: int, unit: int) -> Wei:
    return Wei(_div_up(rate_wei * amount, unit))


def _div_up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
