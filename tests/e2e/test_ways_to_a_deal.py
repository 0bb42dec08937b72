"""A job goes the whole way by each of the ways in, on real parts, and the money is right to the last unit."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from capanode.node.api.port import JobView
from capanode.node.units import wei_from_tokens
from tests.e2e.town import Town, events, false_checks, result

COMMAND = "echo $((6 * 7)) > /out/answer"


@contextmanager
def exact_money(town: Town, bought: list[JobView]) -> Iterator[None]:
    """Exactly what the job's view says has moved from the requester to its provider, and nothing is left locked."""
    before = town.wealth()
    yield
    (view,) = bought
    after = town.wealth()
    gained = {name: after[name].total_wei - before[name].total_wei for name in after}
    moved = {town.requester.name: -view.paid_wei, town.provider_of(view).name: view.paid_wei}
    assert gained == dict.fromkeys(after, 0) | moved
    assert view.paid_wei == view.price_wei > 0
    assert [one.locked_wei for one in after.values()] == [0] * len(after)


@pytest.mark.parametrize(
    ("announce", "policy", "mode"),
    [("gossip", "award", "LOCK"), ("chain", "award", "AWARD"), ("chain", "first", "FIRST")],
)
def test_job_is_done_and_paid(town: Town, announce: str, policy: str, mode: str) -> None:
    bought: list[JobView] = []
    with exact_money(town, bought):
        bought.append(town.buy(town.order(COMMAND, announce=announce, policy=policy)))
    view = bought[0]
    assert (view.state, view.mode, view.exit_code) == ("paid", mode, 0)
    assert result(view, "answer") == b"42\n"
    assert false_checks(view) == []
    assert ("DealAnnounced" in events(view)) == (announce == "chain")


def test_earmarked_provider_is_paid_in_two_transactions_of_its_own(town: Town) -> None:
    for provider in town.providers:
        amount = wei_from_tokens("3")
        town.client.wallet_call("earmark", provider=f"0x{provider.address.hex()}", amount_wei=amount)
    shown = {entry["provider"]: entry["amount_wei"] for entry in town.client.wallet()["earmarks"]}
    assert shown == {f"0x{provider.address.hex()}": wei_from_tokens("3") for provider in town.providers}
    bought: list[JobView] = []
    with exact_money(town, bought):
        bought.append(town.buy(town.order(COMMAND)))
    view = bought[0]
    assert (view.state, view.mode, view.exit_code) == ("paid", "DIRECT", 0)
    assert result(view, "answer") == b"42\n"
    assert false_checks(view) == []


def test_without_acceptance_the_provider_claims_after_the_window(town: Town) -> None:
    bought: list[JobView] = []
    with exact_money(town, bought):
        bought.append(town.buy(town.order(COMMAND, announce="chain", accept="wait")))
    view = bought[0]
    assert view.state == "paid"
    assert view.window_ends_at is not None
    finalized = next(entry for entry in view.timeline if entry.event == "DealFinalized")
    assert finalized.at >= view.window_ends_at
