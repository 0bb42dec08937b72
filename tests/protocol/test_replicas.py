"""A group of replicas by itself: whatever becomes of each, no provider is asked twice, and nobody waits for ever."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol import replicas, requester
from capanode.protocol.events import AcceptRequested, CancelRequested, RequesterEvent
from capanode.protocol.ids import Address, Wei
from capanode.protocol.records import Mode
from capanode.protocol.replicas import (
    SPARES,
    Accept,
    Accepting,
    Act,
    Buy,
    Close,
    Compare,
    Decided,
    Divided,
    Gathering,
    Group,
    GroupEvent,
    Leaving,
    Odd,
    Plan,
    ReplicasCompared,
    ReplicasTold,
    Stand,
    Verdict,
    Withdraw,
    Withdrawn,
    due,
    stand_of,
    step,
)
from tests.protocol.deals import COMMITTED, DEAL, GRACE_S, NOW, REQUESTER_EVENTS, submitted, terms

PLAN = Plan(3, submitted())
ORDER = requester.submit(submitted()).job.order
ANNOUNCED = requester.submit(submitted(Mode.AWARD)).job.order
VERDICT = Verdict(1, (1, 3), (Odd(2, "answer: its bytes are not the same"),))
GROUPS: tuple[Group, ...] = (
    Gathering(PLAN),
    Leaving(PLAN),
    Accepting(PLAN, VERDICT),
    Decided(PLAN, VERDICT),
    Divided(PLAN, (1,)),
    Withdrawn(PLAN),
)
EVENTS: tuple[GroupEvent, ...] = (
    AcceptRequested(),
    CancelRequested(),
    ReplicasCompared((1, 2, 3), VERDICT),
    ReplicasCompared((1,), None),
    ReplicasTold(),
)


def who(number: int) -> Address:
    return Address(bytes([number]) * 20)


def deal(number: int) -> requester.Deal:
    bound = replace(terms(), provider=who(number))
    return requester.Deal(DEAL, bound, requester.NO_PEER, who(number))


def seeking() -> requester.Job:
    return requester.Bidding(ORDER)


def running(number: int) -> requester.Job:
    return requester.Running(ORDER, deal(number))


def delivered(number: int) -> requester.Job:
    return requester.Delivered(ORDER, deal(number), COMMITTED, f"/results/{number}", b"receipt")


def withheld(number: int) -> requester.Job:
    return requester.Withheld(ORDER, deal(number), COMMITTED, NOW, "away")


def lost(number: int) -> requester.Job:
    return requester.Settled(ORDER, deal(number), COMMITTED, "", b"", Wei(1), Wei(0))


def gone() -> requester.Job:
    return requester.Failed(ORDER, "nobody bid", Wei(0))


jobs = st.lists(
    st.one_of(
        st.builds(seeking),
        st.builds(gone),
        *(st.builds(kind, st.integers(1, 5)) for kind in (running, delivered, withheld, lost)),
    ),
    max_size=5,
)


@pytest.mark.parametrize(
    ("now", "act"),
    [
        ([], Buy(1, ())),
        ([seeking()], None),
        ([running(1)], Buy(2, (who(1),))),
        ([delivered(2), running(1)], Buy(3, (who(1), who(2)))),
        ([running(1), gone()], Buy(3, (who(1),))),
        ([running(1), running(2), gone(), gone(), gone()], None),
        ([delivered(1), gone(), gone(), gone(), gone()], Compare((1,), 3, is_last=True)),
        ([running(1), delivered(2), delivered(3)], None),
        ([delivered(1), delivered(2), delivered(3)], Compare((1, 2, 3), 3, is_last=True)),
        ([delivered(1), withheld(2), delivered(3)], Compare((1, 3), 3, is_last=False)),
        ([delivered(1), lost(2), delivered(3)], Compare((1, 3), 3, is_last=True)),
        ([delivered(1), delivered(1), delivered(3)], Compare((1, 3), 3, is_last=True)),
        ([gone()] * 5, Compare((), 3, is_last=True)),
    ],
)
def test_what_is_due_while_results_are_gathered(now: list[requester.Job], act: Act | None) -> None:
    assert due(Gathering(PLAN), now) == act


def test_an_announced_demand_has_its_provider_once_the_chain_says_so() -> None:
    awarding = requester.Awarding(ANNOUNCED, deal(1), None, "", cancelled=False)  # type: ignore[arg-type]  # unread
    assert stand_of(awarding) is Stand.SEEKING
    assert stand_of(replace(awarding, order=ORDER)) is Stand.BOUND


def test_who_leaves_takes_back_what_is_not_bound_and_waits_for_what_may_be() -> None:
    leaving = Leaving(PLAN)
    assert due(leaving, [running(1), seeking()]) == Withdraw((2,))
    awarded = requester.Awarding(ORDER, deal(2), None, "", cancelled=True)  # type: ignore[arg-type]  # unread
    assert due(leaving, [running(1), awarded]) is None
    assert due(leaving, [running(1), running(2)]) == Close()
    assert due(leaving, []) == Close()


@given(jobs)
def test_nobody_is_bought_from_twice_and_never_too_much(now: list[requester.Job]) -> None:
    act = due(Gathering(PLAN), now)
    live = [job for job in now if stand_of(job) is not Stand.GONE]
    match act:
        case Buy():
            assert act.number == len(now) + 1 <= PLAN.wanted + SPARES
            assert len(live) < PLAN.wanted
            assert set(act.avoid) == {replicas.provider_of(job) for job in live}
            assert Stand.SEEKING not in map(stand_of, now)
        case Compare():
            here = [now[number - 1] for number in act.numbers]
            assert all(stand_of(job) is Stand.HERE for job in here)
            assert len({replicas.provider_of(job) for job in here}) == len(here)
            assert act.votes >= max(PLAN.wanted, len(live))
        case _:
            assert act is None
            assert any(stand_of(job) in (Stand.SEEKING, Stand.BOUND) for job in now)


@given(jobs)
def test_what_can_be_cancelled_is_left_behind(now: list[requester.Job]) -> None:
    if not replicas.why_not_cancel(Gathering(PLAN), now):
        assert step(Gathering(PLAN), CancelRequested()) == Leaving(PLAN)
    assert replicas.why_not_cancel(Leaving(PLAN), now) == ""


def test_every_state_takes_every_event() -> None:
    moves = {
        (type(group), type(after), type(event))
        for group in GROUPS
        for event in EVENTS
        if (after := step(group, event)) != group
    }
    assert moves == {
        (Gathering, Leaving, CancelRequested),
        (Gathering, Decided, ReplicasCompared),
        (Gathering, Divided, ReplicasCompared),
        (Decided, Accepting, AcceptRequested),
        (Accepting, Decided, ReplicasTold),
        (Leaving, Withdrawn, ReplicasTold),
    }


def test_a_majority_is_accepted_at_once_where_its_user_wants_that() -> None:
    automatic = Plan(3, submitted(auto_accept=True))
    found = step(Gathering(automatic), ReplicasCompared((1, 2, 3), VERDICT))
    assert found == Accepting(automatic, VERDICT)
    assert due(found, [delivered(1), delivered(2), delivered(3)]) == Accept((1, 3))


@given(st.lists(st.sampled_from(REQUESTER_EVENTS), max_size=20))
def test_a_replica_may_do_whatever_it_can(events: list[RequesterEvent]) -> None:
    job = requester.submit(submitted()).job
    for event in events:
        job = requester.step(job, event, GRACE_S).job
        assert isinstance(stand_of(job), Stand)
        for group in GROUPS:
            due(group, [job])
            replicas.why_not_cancel(group, [job])
