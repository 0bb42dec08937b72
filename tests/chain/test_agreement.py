"""Several endpoints: late ones wait, those with another story are put aside and told of, none alone stops the node."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from capanode.node.chain.agreement import COMPARE_DEPTH, MAX_LAG_BLOCKS, compare, final_number, watch_endpoints
from capanode.node.chain.budget import LONGEST_WAIT_S, RequestBudget
from capanode.node.chain.endpoint import FIRST_REST_S, EndpointState
from capanode.node.chain.follower import Bell, FinalityViolated, Follower, FollowerOptions
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.jsonrpc import Call
from capanode.node.chain.rpc import Rpc
from capanode.node.storage.database import Database
from capanode.protocol.faults import Unavailable
from tests.chain.test_hostile_endpoint import FILTER, Chain, Projection
from tests.fakes.fake_rpc import FakeRpc, Refusal, run_fake_rpc

FORKED = 40
"""The fake chain forks above block 5; at this height the block that is compared lies on the fork."""


@asynccontextmanager
async def over(*chains: Chain, budget: RequestBudget | None = None) -> AsyncGenerator[Rpc]:
    """An `Rpc` over one endpoint for each chain."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(run_fake_rpc(FakeRpc(answer=chain.answer))) for chain in chains]
        rpc = Rpc([fake.url for fake in fakes], 31_337, budget)
        stack.push_async_callback(rpc.aclose)
        yield rpc


def forked(height: int = FORKED, final: int = 0) -> Chain:
    chain = Chain(height)
    chain.fork, chain.final = 1, final
    return chain


def states(rpc: Rpc) -> list[EndpointState]:
    return [endpoint.state for endpoint in rpc.endpoints]


async def test_endpoint_that_is_behind_is_asked_last() -> None:
    late = Chain(FORKED - MAX_LAG_BLOCKS - 1)
    async with over(late, Chain(FORKED)) as rpc:
        await compare(rpc, pytest.fail)
        assert states(rpc) == [EndpointState.BEHIND, EndpointState.GOOD]
        assert rpc.best() is rpc.endpoints[1]
        assert [health.lag_blocks for health in rpc.health()] == [MAX_LAG_BLOCKS + 1, 0]

        late.height = FORKED
        await compare(rpc, pytest.fail)
        assert rpc.best() is rpc.endpoints[0]


async def test_minority_is_put_aside_told_once_and_taken_back() -> None:
    odd, told = forked(), list[str]()
    async with over(odd, Chain(FORKED), Chain(FORKED)) as rpc:
        for _ in range(3):
            await compare(rpc, told.append)
            assert states(rpc) == [EndpointState.DISAGREES, EndpointState.GOOD, EndpointState.GOOD]
        assert len(told) == 1
        assert all(endpoint.name in told[0] for endpoint in rpc.endpoints[:2])
        assert str(FORKED - COMPARE_DEPTH) in told[0]
        assert rpc.best() is rpc.endpoints[1]

        odd.fork = 0
        await compare(rpc, told.append)
        assert states(rpc) == [EndpointState.GOOD] * 3
        assert len(told) == 1


async def test_tie_goes_to_the_longer_chain_and_then_to_the_first() -> None:
    async with over(Chain(FORKED), forked(FORKED + 2)) as rpc:
        await compare(rpc, lambda sentence: None)
        assert states(rpc) == [EndpointState.DISAGREES, EndpointState.GOOD]
    async with over(Chain(FORKED), forked()) as rpc:
        await compare(rpc, lambda sentence: None)
        assert states(rpc) == [EndpointState.GOOD, EndpointState.DISAGREES]


async def test_endpoint_that_disagreed_does_not_rule_when_the_others_are_away() -> None:
    odd, right = forked(), Chain(FORKED)
    async with over(odd, right, Chain(FORKED)) as rpc:
        await compare(rpc, lambda sentence: None)
        for endpoint in rpc.endpoints[1:]:
            endpoint.blame(Unavailable("away"))
        await compare(rpc, pytest.fail)
        assert rpc.endpoints[0].state is EndpointState.DISAGREES
        assert rpc.best() is not rpc.endpoints[0]


async def test_final_is_what_the_middle_endpoint_says() -> None:
    chains = [Chain(FORKED) for _ in range(3)]
    for chain, final in zip(chains, (0, 20, 10_000), strict=True):
        chain.final = final
    async with over(*chains) as rpc:
        for source in rpc.endpoints:
            assert await final_number(rpc, source, FORKED, 64) == 20


async def test_endpoint_without_final_blocks_goes_by_depth() -> None:
    def refuse(method: str, params: list[object]) -> object:
        raise Refusal(-32602, "unknown tag")

    async with run_fake_rpc(FakeRpc(answer=refuse)) as fake:
        rpc = Rpc([fake.url], fake.chain_id)
        assert await final_number(rpc, rpc.endpoints[0], 100, 64) == 36
        await rpc.aclose()


async def follow(rpc: Rpc, database: Database, projection: Projection, tell: Callable[[str], None]) -> None:
    options = FollowerOptions(0, lag_patience_s=0)
    apply, unwind = projection.apply, projection.unwind
    follower = Follower(rpc, database, FILTER, options, apply, unwind, lambda: None, HeadWatch(), tell)
    while await follower.step():
        pass


@pytest.mark.parametrize("honest", [1, 2])
async def test_one_endpoint_alone_does_not_violate_finality(database: Database, honest: int) -> None:
    projection, told, final = Projection(), list[str](), FORKED
    chains = [Chain(FORKED) for _ in range(honest + 1)]
    for chain in chains:
        chain.final = final
    async with over(*chains) as rpc:
        await follow(rpc, database, projection, told.append)
        chains[0].fork = 1
        for chain in chains:
            chain.height = FORKED + 3
        await follow(rpc, database, projection, told.append)
        assert rpc.endpoints[0].state is EndpointState.DISAGREES
        assert len(told) == 1
        assert projection.values == {number: number for number in range(1, FORKED + 4)}


async def test_most_endpoints_together_do(database: Database) -> None:
    chains = [Chain(FORKED) for _ in range(3)]
    for chain in chains:
        chain.final = FORKED
    failure = None
    async with over(*chains) as rpc:
        await follow(rpc, database, Projection(), lambda sentence: None)
        chains[0].fork = chains[2].fork = 1
        try:
            await follow(rpc, database, Projection(), lambda sentence: None)
        except FinalityViolated as error:
            failure = error
    assert failure is not None


async def test_claimed_head_that_is_not_shown_counts_against_the_endpoint(database: Database) -> None:
    liar, projection = Chain(FORKED), Projection()

    def boast(method: str, params: list[object]) -> object:
        return "0xffffff" if method == "eth_blockNumber" else liar.answer(method, params)

    async with (
        run_fake_rpc(FakeRpc(answer=boast)) as fake,
        run_fake_rpc(FakeRpc(answer=Chain(FORKED + 9).answer)) as other,
    ):
        rpc = Rpc([fake.url, other.url], 31_337)
        await compare(rpc, lambda sentence: None)
        assert states(rpc) == [EndpointState.GOOD, EndpointState.BEHIND]
        for _ in range(40):
            try:
                await follow(rpc, database, projection, lambda sentence: None)
            except Unavailable:
                continue
        await rpc.aclose()
    assert max(projection.values) == FORKED + 9


async def test_endpoint_that_fails_rests_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.2
    broken = Chain(1)
    broken.change_block = lambda block: "nonsense"
    async with over(broken, Chain(2)) as rpc:
        assert await rpc.call("eth_getBlockByNumber", "latest", False) != "nonsense"
        assert states(rpc) == [EndpointState.FAILING, EndpointState.GOOD]
        assert rpc.health()[0].errors == 1
        assert "object" in rpc.health()[0].last_error
        autojump_clock.jump(FIRST_REST_S)
        assert rpc.best() is rpc.endpoints[0]


async def test_where_all_fail_the_one_that_rests_least_is_asked() -> None:
    rpc = Rpc(["http://localhost:1", "http://localhost:2"], 1)
    for _ in range(3):
        rpc.endpoints[0].blame(Unavailable("down"))
    rpc.endpoints[1].blame(Unavailable("a moment"))
    assert states(rpc) == [EndpointState.FAILING] * 2
    assert rpc.best() is rpc.endpoints[1]


async def test_endpoints_of_one_host_have_names_of_their_own() -> None:
    rpc = Rpc(["http://localhost:1/key-a", "http://localhost:1/key-b"], 1)
    assert [endpoint.name for endpoint in rpc.endpoints] == ["http://localhost:1", "http://localhost:1 (2)"]


async def test_budget_holds_back_what_can_wait_and_nothing_else(mock_clock: trio.testing.MockClock) -> None:
    budget = RequestBudget(60)
    for _ in range(6):
        assert budget.wait_s() == 0
        budget.spend(1)
    assert budget.wait_s() == pytest.approx(10 / 9)
    mock_clock.jump(1.2)
    assert budget.wait_s() == 0
    # A deal takes what it needs; the rest waits longer, but not for ever.
    budget.spend(1_000)
    assert budget.wait_s() == LONGEST_WAIT_S
    mock_clock.jump(70)
    assert budget.wait_s() == 0
    assert RequestBudget().wait_s() == 0


async def test_idle_node_stays_within_its_budget(autojump_clock: trio.testing.MockClock) -> None:
    budget = RequestBudget(12)
    rpc = Rpc(["http://localhost:1"], 1, budget)
    bell, options, looks = Bell(), FollowerOptions(0), 0
    began = trio.current_time()
    while trio.current_time() - began < 600:
        bell.reset()
        budget.spend(1)
        looks += 1
        bell.ring()  # a block a moment
        await bell.wait(options, rpc, lambda: False)
    assert 100 <= looks <= 12 * 10

    # Busy, it looks each time that it rings, and every second when it does not.
    before = trio.current_time()
    bell.ring()
    await bell.wait(options, rpc, lambda: True)
    assert trio.current_time() == before
    bell.reset()
    await bell.wait(options, rpc, lambda: True)
    assert trio.current_time() == pytest.approx(before + options.poll_s)


async def test_idle_minute_keeps_to_the_budget_but_for_a_look_that_has_begun(
    autojump_clock: trio.testing.MockClock,
) -> None:
    budget = RequestBudget(30)
    rpc = Rpc(["http://localhost:1"], 1, budget)
    bell, spent = Bell(), list[float]()
    while trio.current_time() < 600:
        # The newest block, and a stretch up to it.
        budget.spend(3)
        spent += [trio.current_time()] * 3
        bell.ring()
        await bell.wait(FollowerOptions(0), rpc, lambda: False)
    most = max(sum(began <= at < began + 60 for at in spent) for began in spent)
    assert 24 <= most <= 30 + 2


async def test_idle_node_deep_in_debt_still_looks(autojump_clock: trio.testing.MockClock) -> None:
    budget = RequestBudget(1)
    budget.spend(1_000)
    bell, began = Bell(), trio.current_time()
    bell.ring()
    await bell.wait(FollowerOptions(0), Rpc(["http://localhost:1"], 1, budget), lambda: False)
    assert trio.current_time() - began == pytest.approx(LONGEST_WAIT_S)


async def test_node_that_becomes_busy_looks_at_once(autojump_clock: trio.testing.MockClock) -> None:
    budget = RequestBudget(1)
    budget.spend(10)
    rpc, options, began = Rpc(["http://localhost:1"], 1, budget), FollowerOptions(0), trio.current_time()
    await Bell().wait(options, rpc, lambda: trio.current_time() - began >= 3)
    assert trio.current_time() - began <= 3 + 2 * options.poll_s


async def test_one_endpoint_is_compared_with_nobody() -> None:
    rpc = Rpc(["http://localhost:1"], 1)
    await watch_endpoints(rpc, pytest.fail)
    assert rpc.endpoints[0].requests == 0


async def test_batch_goes_to_one_endpoint_whole() -> None:
    first, second = Chain(1), Chain(2)
    async with over(first, second) as rpc:
        assert await rpc.batch([Call("eth_blockNumber")] * 3) == ("0x1",) * 3
