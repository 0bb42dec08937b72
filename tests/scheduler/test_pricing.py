from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol.ids import Wei
from capanode.protocol.records import Demand, Resources
from capanode.scheduler.pricing import Gas, Rates, quote
from tests.scheduler.samples import GAS, RATES, demand, gpu_need

FREE = Rates(Wei(0), Wei(0), Wei(0), Wei(0), Wei(0), Wei(0), 0, 0)
NO_GAS = Gas(0, Wei(0))
wei = st.integers(0, 10**22).map(Wei)
rates = st.builds(Rates, wei, wei, wei, wei, wei, wei, st.integers(0, 10**7), st.integers(0, 10**7), wei)
gases = st.builds(Gas, st.integers(0, 10**7), st.integers(0, 10**13).map(Wei))
demands = st.builds(
    lambda needs, retention, image: demand(resources=needs, retention_s=retention, image_bytes=image),
    st.builds(
        Resources,
        st.integers(10, 64_000),
        st.integers(2**22, 2**40),
        st.integers(2**20, 2**44),
        st.integers(1, 604_800),
        st.none() | st.just(gpu_need(3)),
    ),
    st.integers(0, 10**7),
    st.integers(0, 2**40),
)
loads = st.integers(0, 1_000_000)


def exact(of: Demand, at: Rates, gas: Gas, load: int) -> Fraction:
    """The price as a formula, without rounding and without the floor."""
    needs = of.resources
    hours = Fraction(needs.timeout_s, 3600)
    gib = 2**30
    cost = (
        at.cpu_hour_wei * Fraction(needs.cpu_millis, 1000) * hours
        + at.memory_gib_hour_wei * Fraction(needs.memory_bytes, gib) * hours
        + at.gpu_hour_wei * (needs.gpu.count if needs.gpu else 0) * hours
        + at.disk_gib_hour_wei * Fraction(needs.disk_bytes, gib) * (hours + Fraction(of.retention_s, 3600))
        + at.transfer_gib_wei * Fraction(of.image_bytes + of.input_bytes + needs.disk_bytes, gib)
    )
    surcharge = Fraction(at.margin_ppm, 10**6) + Fraction(at.load_ppm, 10**6) * Fraction(load, 10**6)
    return cost * (1 + surcharge) + Fraction(gas.units * gas.price_wei * at.tokens_per_coin_wei, 10**18)


@given(demands, rates, gases, loads)
def test_price_is_the_formula_rounded_up_line_by_line(of: Demand, at: Rates, gas: Gas, load: int) -> None:
    price = quote(of, at, gas, load).price_wei
    expected = max(exact(of, at, gas, load), Fraction(at.floor_wei), Fraction(1))
    # Eight lines, each at most one base unit too high, five of them under a surcharge of at most 20 times.
    assert expected <= price <= expected + 3 + 5 * 21


@given(demands, rates, gases, loads, loads)
def test_price_grows_with_every_need(of: Demand, at: Rates, gas: Gas, load: int, other: int) -> None:
    price = quote(of, at, gas, min(load, other)).price_wei
    assert quote(of, at, gas, max(load, other)).price_wei >= price
    more = replace(of, retention_s=of.retention_s + 1)
    assert quote(more, at, gas, min(load, other)).price_wei >= price


def test_lines_add_up_and_are_named() -> None:
    found = quote(demand(), RATES, GAS, 500_000)
    assert [line.name for line in found.lines] == ["cpu", "memory", "disk", "margin", "load", "gas"]
    assert found.price_wei == sum(line.amount_wei for line in found.lines)


def test_a_known_price() -> None:
    hour = demand(resources=Resources(2000, 2**30, 2**30, 3600, gpu_need(2)), retention_s=3600)
    at = Rates(Wei(100), Wei(10), Wei(1), Wei(1000), Wei(0), Wei(10**18), 100_000, 500_000)
    lines = {line.name: line.amount_wei for line in quote(hour, at, Gas(7, Wei(3)), 1_000_000).lines}
    assert lines == {
        "cpu": 200,
        "memory": 10,
        "gpu": 2000,
        "disk": 2,
        "margin": 222,
        "load": 1106,
        "gas": 21,
    }


def test_the_floor_tops_up_a_small_job() -> None:
    at = replace(FREE, floor_wei=Wei(500))
    assert [(line.name, line.amount_wei) for line in quote(demand(), at, NO_GAS, 0).lines] == [("floor", 500)]


def test_no_job_is_free() -> None:
    assert quote(demand(), FREE, NO_GAS, 0).price_wei == 1


def test_gas_is_converted_at_the_operators_rate() -> None:
    at = replace(FREE, tokens_per_coin_wei=Wei(2000 * 10**18))
    assert quote(demand(), at, Gas(100_000, Wei(10**9)), 0).price_wei == 2000 * 10**14


def test_negative_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        replace(RATES, margin_ppm=-1)
