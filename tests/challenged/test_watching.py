"""A watcher looks again at what it could not look at, and at other results meanwhile."""

from typing import Any, cast

import pytest
import trio
import trio.testing

from capanode.node.challenged.appetite import Appetite
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.challenged.looks import LOOK_AGAIN_S
from capanode.node.challenged.watching import Finding, Passed, Watching, why_not_before
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, DealId, Ppm, Wei
from capanode.protocol.judging import VerificationClass

LATE, PROMPT, NONE = (DealId(bytes([number]) * 32) for number in (1, 2, 3))
ALL = Appetite(Ppm(1_000_000), Wei(1), Wei(0), frozenset({VerificationClass.EXACT}), 0, is_dry=True)


def finding(deal_id: DealId) -> Finding:
    nothing = Wei(0)
    return Finding(deal_id, "holds", None, nothing, nothing, nothing, nothing, nothing, None, "")


class Looks:
    """Deals that can be looked at from some time on, each answer being that of the deal then."""

    def __init__(self, **since: float) -> None:
        self.since = {LATE: since["late"], PROMPT: 0.0}
        self.made = list[DealId]()
        self.began = 0.0

    async def look(self, deal_id: DealId, _: Appetite) -> Finding:
        self.made.append(deal_id)
        if deal_id not in self.since:
            raise Refused("it is worth less than what is watched")
        if trio.current_time() - self.began < self.since[deal_id]:
            raise BytesMissing("nobody hands it over")
        return finding(deal_id)

    async def watched(self, monkeypatch: pytest.MonkeyPatch, *deals: DealId) -> list[tuple[DealId, str, float]]:
        """What a watcher tells of these, and when."""
        nobody = cast(Any, None)
        watching = Watching(nobody, nobody, nobody, nobody, nobody, bond_wei=nobody, named=nobody)
        monkeypatch.setattr(watching, "look", self.look)
        told, self.began = list[tuple[DealId, str, float]](), trio.current_time()
        send, receive = trio.open_memory_channel[DealId](len(deals))
        async with send, receive:
            for deal_id in deals:
                send.send_nowait(deal_id)
            await send.aclose()
            async for one in watching.watch(receive, ALL):
                what = one.reason if isinstance(one, Passed) else one.verdict
                told.append((one.deal_id, what, trio.current_time() - self.began))
        return told


async def test_what_nobody_hands_over_yet_is_looked_at_again_and_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    looks = Looks(late=3.0)
    assert await looks.watched(monkeypatch, LATE, PROMPT) == [
        (PROMPT, "holds", 0.0),
        (LATE, "holds", sum(LOOK_AGAIN_S[:2])),
    ]
    assert looks.made == [LATE, PROMPT, LATE, LATE]


async def test_a_watcher_gives_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    looks = Looks(late=1e6)
    over_s = sum(LOOK_AGAIN_S)
    assert await looks.watched(monkeypatch, LATE) == [(LATE, "it could not be looked at in time", over_s)]
    assert looks.made == [LATE] * (1 + len(LOOK_AGAIN_S))


async def test_what_is_not_wanted_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    looks = Looks(late=0.0)
    assert await looks.watched(monkeypatch, NONE) == [(NONE, "it is worth less than what is watched", 0.0)]
    assert looks.made == [NONE]


def test_nothing_is_staked_before_arbiters_that_the_operator_does_not_know() -> None:
    one, two, three, wallet = (Address(bytes([number]) * 20) for number in (1, 2, 3, 4))
    named = (one, two, three)
    assert "challenger.named_arbiters has 0" in why_not_before(named, 2, wallet, ())
    assert "challenger.named_arbiters has 1" in why_not_before(named, 2, wallet, {one, wallet})
    assert why_not_before(named, 2, wallet, {one, three}) == ""
    assert "judge what others challenge" in why_not_before(named, 2, one, set(named))
    assert "not 0: nothing is staked" in why_not_before((), 2, wallet, {one, two}), "a set that no court knows"


@pytest.mark.parametrize("quorum", [1, 4])
def test_nothing_is_staked_where_a_quorum_is_none(quorum: int) -> None:
    """The court takes any number: where one of three decides, two liars outvote the one who is trusted."""
    named = tuple(Address(bytes([number]) * 20) for number in (1, 2, 3))
    wallet = Address(b"\x04" * 20)
    assert "2 to 3 have to agree: nothing is staked" in why_not_before(named, quorum, wallet, {named[0]})
