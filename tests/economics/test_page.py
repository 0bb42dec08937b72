"""The figures of docs/economics.md are those of the code."""

import os

import pytest

from bench.economy.play import STRATEGIES
from bench.economy.world import DEFAULT, TOKEN, Job, job, jobs
from capanode.protocol.tariff import TARIFF
from tests.tooling.checkout import ROOT

PAGE = ROOT / "docs" / "economics.md"
STEPS = (1, 16, 256)
MARGIN_PPM = 1_200_000

WHY = {
    "deadline_bond_ppm": "`Bd` of `P`: lateness costs the requester time, which is less than a wrong result",
    "abandon_ppm": "of `P`, for giving up in time: cheaper than silence, not free",
    "fraud_ppm": "`Bf` as a multiple of `P·(1 − p)/p`: the margin above the bare condition",
    "fraud_above_ppm": "the same at rates above the next line: a quarter of it comes back, and what is left must deter",
    "above_rate_ppm": "up to this rate the bounty is `P`, and above it a quarter of `Bf`",
    "floor_times": "least `Bf` in costs of a dispute, `3F` + gas allowance: one pays it, the rest is burn and bounty",
    "verification_fees": "`V` in fees: a committee of three is paid though nobody is guilty",
    "challenger_fees": "`C` in fees, besides the gas allowance: who is wrong pays committee and provider",
    "penalty_fees": "what an absent or dissenting arbiter loses, in fees: a blind vote must lose what it can win",
    "judging_wei": "`F` besides the price of a step, base units: two votes' gas and the readiness",
    "gas_allowance_wei": "what one party's gas in a dispute is reckoned to cost, base units",
    "bounty_ppm": "`B` of `Bf`: all of it can come back to a cheater with many names",
    "bounty_of_price_ppm": "`B` of `P` at most: at low rates the bond is many prices",
    "least_burned_ppm": "burned of a lost `Bf` at least: no circle of friends is free",
    "void_paid_ppm": "of `m`, to the provider of a result that nobody can reproduce",
    "void_burned_ppm": "of the rest of `m`: see VOID",
}


def worked(steps: int) -> Job:
    """A deal of price 1 whose provider has the usual margin."""
    cost = (TOKEN - DEFAULT.gas.deal_wei) * 1_000_000 // MARGIN_PPM
    return job(DEFAULT, cost, steps)


def tokens(wei: float) -> str:
    return f"{wei / TOKEN:.3f}"


def _parameters() -> list[str]:
    rows = [f"| `{name}` | {getattr(TARIFF, name):,} | {why} |" for name, why in WHY.items()]
    return ["| parameter | default | what it is, and why |", "|---|---|---|", *rows]


def _numbers() -> list[str]:
    deals = [worked(steps) for steps in STEPS]
    expected = {strategy.name: strategy.expected for strategy in STRATEGIES}
    rows: dict[str, list[float]] = {
        "`F`": [deal.locked.fee_wei for deal in deals],
        "`V = 3F`": [deal.locked.verification_wei for deal in deals],
        "`C = 3F` + gas allowance": [deal.challenger_bond_wei for deal in deals],
        "`Bd`": [deal.locked.deadline_bond_wei for deal in deals],
        "`Bf`": [deal.locked.fraud_bond_wei for deal in deals],
        "`B`": [deal.bounty_wei for deal in deals],
        "an honest provider earns": [deal.honest_provider_wei for deal in deals],
        "one that invents the result": [expected["cheating"](deal) for deal in deals],
        "and joins its own conviction": [expected["cheating_with_puppets"](deal) for deal in deals],
        "a challenger that is right": [deal.prize_wei - deal.world.gas.challenge_wei - deal.step_wei for deal in deals],
        "one that is wrong": [-deal.challenger_bond_wei - deal.world.gas.challenge_wei for deal in deals],
        "an arbiter that looks": [deal.honest_arbiter_wei for deal in deals],
    }
    head = "| | " + " | ".join(f"{steps} step{'s' if steps > 1 else ''}" for steps in STEPS) + " |"
    return [head, "|---" * (len(STEPS) + 1) + "|"] + [
        f"| {name} | " + " | ".join(map(tokens, amounts)) + " |" for name, amounts in rows.items()
    ]


def _strategies() -> list[str]:
    market = tuple(jobs(DEFAULT, 2_000, 20))
    deal = worked(16)
    rows = [
        f"| `{strategy.name}` | {strategy.players} | {tokens(strategy.expected_gain(deal))} | "
        f"{max(strategy.expected_gain(one) / one.price_wei for one in market):.3f} |"
        for strategy in STRATEGIES
    ]
    return ["| strategy | who | mean | best |", "|---|---|---|---|", *rows]


def _griefing() -> list[str]:
    deal = worked(16)
    locked, gas = deal.locked, DEFAULT.gas
    flood = 15 * deal.challenger_bond_wei + 4 * gas.challenge_wei
    delayed = "provider: a day's delay"
    wrong = deal.challenger_bond_wei + gas.challenge_wei
    spoiling = locked.verification_wei + gas.challenge_wei
    squatting = locked.deadline_bond_wei + gas.assign_wei
    rows = (
        ("a challenge of a right result", wrong, deal.delay_wei, delayed),
        ("four of them at four steps", flood, deal.delay_wei, "the same"),
        ("an irreproducible job", spoiling, locked.amount_wei // 2, "provider: half its pay"),
        ("taking a deal and never running it", squatting, 0, "requester: its time until `commit_by`"),
        ("a bought job whose inputs do not come", 0, 0, "nobody: the provider declines before it is bound"),
        ("an appeal without prospects", 7 * locked.fee_wei, deal.delay_wei, "the other side: an appeal period"),
    )
    table = [f"| {what} | {tokens(cost)} | {tokens(harm)} | {whom} |" for what, cost, harm, whom in rows]
    return ["| what | costs it | costs others | whom |", "|---|---|---|---|", *table]


TABLES = {"parameters": _parameters, "numbers": _numbers, "strategies": _strategies, "griefing": _griefing}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_shows_what_the_code_says(name: str) -> None:
    begin = f"<!-- {name}: made by tests/economics/test_page.py, run with CAPANODE_WRITE_DOCS=1 -->\n"
    end = f"<!-- end of {name} -->\n"
    text = PAGE.read_text("utf-8")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    wanted = f"{before}{begin}\n" + "\n".join(TABLES[name]()) + f"\n\n{end}{after}"
    if os.environ.get("CAPANODE_WRITE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
    assert text == wanted, "run this test with CAPANODE_WRITE_DOCS=1 to write the tables anew"


def test_every_parameter_is_explained() -> None:
    assert set(WHY) == set(TARIFF.__dataclass_fields__)
