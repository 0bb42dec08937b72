"""Gas of every action, from receipts of real transactions on a local chain, in the steady state.

Steady state: the same parties, whose accounts are all in use, at their second deal or later. Deals are of class `exact`
(a verification deposit and a fraud bond of five prices), with one step, a fixed price in 18 decimals, and a locator
of 90 bytes; the claim pays the provider and returns the deposit.

`dispute_open_settle` is the challenge and the transaction that settles it when the provider was right, and
`dispute_overturned_open_settle` when it was wrong, which moves the money of five accounts. `dispute_committee3_total`
is the dearer of the two with all between: showing, draw, three hidden votes, their count, and the committee's pay.
`commit_k16` posts all leaves, `commit_k1024` both proofs.

`announced_deal` is posted at a price and taken by the first (announce, assignFirst, commit, claim). An award for an
announced deal adds the requester's signature (`announced_award_deal_at_cap`) and, below the cap, one more write that
returns the difference at once (`announced_award_deal`).
"""

import http.client
import itertools
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import rlp  # type: ignore[import-untyped]
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from eth_typing import Hash32

from bench import report
from capanode.contracts_abi import artifacts, bindings
from capanode.proofs import trace
from capanode.protocol import typed_data
from capanode.protocol.ids import (
    ZERO_ADDRESS,
    Address,
    DealId,
    DemandDigest,
    Digest,
    SpecDigest,
    UnixTime,
    Wei,
)
from capanode.protocol.records import Mode
from capanode.protocol.records import Terms as TermsRecord

ROOT: Final = Path(__file__).resolve().parent.parent
CHAIN_ID: Final = 31337
WINDOW_S: Final = 5
TOKEN: Final = 10**18
PRICE: Final = 2_450_000 * 10**12
PAID: Final = PRICE
VERIFICATION: Final = 180_000 * 10**12
FRAUD_BOND: Final = 5 * PRICE
SALT_BYTES: Final = 4
BATCH: Final = 100
OPEN_DEALS: Final = 50
NO_ADDRESS: Final = ZERO_ADDRESS
ARBITERS: Final = 7
CLASS: Final = b"x86_64-v3"
GAS_ALLOWANCE: Final = TOKEN // 50
COURT_CLOCKS: Final = bindings.CourtClocks(
    join_blocks=1,
    reveal_blocks=20,
    vote_time=300,
    reveal_time=300,
    appeal_time=300,
    answer_time=300,
    max_dispute=30 * 86_400,
    min_age=0,
    leave_time=7 * 86_400,
    min_arbiters=7,
    min_stake=TOKEN,
    gas_allowance=GAS_ALLOWANCE,
)

DICE = random.Random(20)


@dataclass(frozen=True, slots=True)
class Party:
    """A funded key."""

    key: LocalAccount

    @property
    def address(self) -> Address:
        return Address(bytes.fromhex(self.key.address[2:]))

    def sign(self, digest: bytes) -> bytes:
        return bytes(self.key.unsafe_sign_hash(Hash32(digest)).signature)


@dataclass(frozen=True, slots=True)
class Chain:
    """The few JSON-RPC calls that measuring needs; blocks are mined per transaction."""

    port: int

    def call(self, method: str, *parameters: object) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("POST", "/", body, {"content-type": "application/json"})
            decoded = json.load(connection.getresponse())
        if "error" in decoded:
            data = decoded["error"].get("data")
            reason = bindings.decode_error(bytes.fromhex(data[2:])) if isinstance(data, str) else None
            raise RuntimeError(f"{method} failed: {reason or decoded['error']}")
        return decoded["result"]

    def send(self, sender: Party, to: Address | None, data: bytes) -> dict[str, Any]:
        """The receipt of a transaction that succeeded."""
        transaction = {"from": sender.key.address, "data": "0x" + data.hex(), "gas": hex(16_000_000)}
        if to is not None:
            transaction["to"] = "0x" + to.hex()
        digest = self.call("eth_sendTransaction", transaction)
        receipt = self.receipt(digest)
        if receipt["status"] != "0x1":
            raise RuntimeError(f"transaction {digest} reverted")
        return receipt

    def receipt(self, digest: str, within_s: float = 10) -> dict[str, Any]:
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            receipt: dict[str, Any] | None = self.call("eth_getTransactionReceipt", digest)
            if receipt is not None:
                return receipt
            time.sleep(0.005)
        raise RuntimeError(f"transaction {digest} was not mined")

    def read(self, to: Address, data: bytes) -> str:
        return str(self.call("eth_call", {"to": "0x" + to.hex(), "data": "0x" + data.hex()}, "latest"))

    def now(self) -> int:
        return int(self.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def wait(self, seconds: int) -> None:
        self.call("evm_increaseTime", seconds)
        self.call("evm_mine")


@dataclass(frozen=True, slots=True)
class Committed:
    """A deal that waits for its claim, and what it has cost so far."""

    claim: bindings.Claim
    gas: dict[str, int]


@dataclass(frozen=True, slots=True)
class Bench:
    """A market, its domain, and the parties. `sender` is the provider's wallet or one of its hot keys."""

    chain: Chain
    market: Address
    domain: typed_data.Domain
    requester: Party
    provider: Party
    hot_key: Party
    sender: Party
    court: Address
    pools: Address
    arbiters: tuple[Party, ...]

    def send(self, data: bytes, sender: Party | None = None) -> dict[str, Any]:
        return self.chain.send(sender or self.sender, self.market, data)

    def gas(self, data: bytes, sender: Party | None = None) -> int:
        return int(self.send(data, sender)["gasUsed"], 16)

    @property
    def locked_by(self) -> Address:
        return NO_ADDRESS if self.sender == self.provider else self.sender.address


BARS: Final = {
    "direct_deal_total": 115_000,
    "lock_deal_total": 150_000,
    "announced_deal_total": 180_000,
    "extra_open_deal_growth": 100,
    "dispute_committee3_total": 800_000,
    "commit_k16": 135_000,
    "commit_k1024": 135_000,
}


def main() -> None:
    with anvil() as chain:
        report.write("gas", measure(chain))


def measure(chain: Chain) -> dict[str, report.Figure]:
    wallet = deploy(chain)
    hot = replace(wallet, sender=wallet.hot_key)
    figures: dict[str, report.Figure] = {**once(wallet)}
    for bench in (wallet, hot):  # the first deals pay for fresh slots
        for run in (direct_deal, lock_deal, award_deal, first_deal):
            finish(bench, run(bench))

    kinds = {
        "direct_deal": direct_deal,
        "lock_deal": lock_deal,
        "announced_deal": first_deal,
        "announced_award_deal": award_deal,
    }
    for name, run in kinds.items():
        figures |= totals(name, finish(wallet, run(wallet)))
        figures |= totals(f"{name}_hot_key", finish(hot, run(hot)))
    figures |= totals("announced_award_deal_at_cap", finish(wallet, award_deal(wallet, cap=PRICE)))
    figures |= ways_out(wallet)
    figures |= batch(wallet)
    figures["extra_open_deal_growth"] = growth(wallet)
    figures |= more_steps(wallet)
    figures |= disputes(wallet)
    return figures


def totals(name: str, gas: dict[str, int]) -> dict[str, int]:
    return {f"{name}_{step}": used for step, used in gas.items()} | {f"{name}_total": sum(gas.values())}


# Deals ---------------------------------------------------------------------------------------------------------------


def direct_deal(bench: Bench) -> Committed:
    terms, demand = new_terms(bench, Mode.DIRECT)
    deal_id = award_digest(bench, terms)
    signature = bench.requester.sign(deal_id)
    data = bindings.encode_deal_market_assign_and_commit(demand, new_commitment(), terms, signature)
    receipt = bench.send(data)
    return committed(bench, deal_id, terms, receipt, {"assign_and_commit": int(receipt["gasUsed"], 16)})


def lock_deal(bench: Bench) -> Committed:
    terms, demand = new_terms(bench, Mode.LOCK)
    deal_id = award_digest(bench, terms)
    signature = bench.requester.sign(deal_id)
    gas = {"assign": bench.gas(bindings.encode_deal_market_assign(terms, signature))}
    return commit(bench, deal_id, terms, demand, gas)


def award_deal(bench: Bench, cap: int = PRICE * 5 // 4) -> Committed:
    """Announced, then awarded at a price under the cap."""
    deal_id, announced, demand, gas = announce(bench, Mode.AWARD, cap)
    terms = replace(announced, provider=bench.provider.address, price=PRICE)
    award = replace(terms, salt=int.from_bytes(deal_id, "big"))
    signature = bench.requester.sign(award_digest(bench, award))
    gas["assign"] = bench.gas(bindings.encode_deal_market_assign_announced(announced, PRICE, terms.provider, signature))
    return commit(bench, deal_id, terms, demand, gas)


def first_deal(bench: Bench) -> Committed:
    """Announced at a posted price, taken without a signature."""
    deal_id, announced, demand, gas = announce(bench, Mode.FIRST, PRICE)
    terms = replace(announced, provider=bench.provider.address)
    gas["assign"] = bench.gas(bindings.encode_deal_market_assign_first(terms.provider, announced))
    return commit(bench, deal_id, terms, demand, gas)


def announce(bench: Bench, mode: Mode, cap: int) -> tuple[DealId, bindings.Terms, bindings.DemandCore, dict[str, int]]:
    terms, demand = new_terms(bench, mode)
    terms = replace(terms, provider=NO_ADDRESS, price=cap)
    locator = DICE.randbytes(45).hex().encode()
    gas = {"announce": bench.gas(bindings.encode_deal_market_announce(terms, locator), bench.requester)}
    deal_id = typed_data.announcement_deal_id(bench.domain, record(terms))
    return deal_id, terms, demand, gas


def commit(
    bench: Bench, deal_id: DealId, terms: bindings.Terms, demand: bindings.DemandCore, gas: dict[str, int]
) -> Committed:
    data = bindings.encode_deal_market_commit(bench.locked_by, terms, demand, deal_id, new_commitment())
    receipt = bench.send(data)
    return committed(bench, deal_id, terms, receipt, gas | {"commit": int(receipt["gasUsed"], 16)})


def committed(
    bench: Bench, deal_id: DealId, terms: bindings.Terms, receipt: dict[str, Any], gas: dict[str, int]
) -> Committed:
    log = receipt["logs"][-1]
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    event = bindings.DealCommitted.decode(topics, bytes.fromhex(log["data"][2:]))
    claim = bindings.Claim(terms, event.locked_by, event.amount, commitment_digest(event), deal_id)
    return Committed(claim, gas)


def finish(bench: Bench, deal: Committed) -> dict[str, int]:
    bench.chain.wait(WINDOW_S + 1)
    return deal.gas | {"claim": bench.gas(bindings.encode_deal_market_claim(deal.claim))}


# Other measurements --------------------------------------------------------------------------------------------------


def once(bench: Bench) -> dict[str, int]:
    """What a party pays once, or now and then."""
    provider, key = bench.provider.address, bench.hot_key.address
    amount = 1_000 * TOKEN + 337
    steps: tuple[tuple[str, bytes, Party], ...] = (
        ("deposit_first", bindings.encode_deal_market_deposit(100 * amount), bench.requester),
        ("deposit_again", bindings.encode_deal_market_deposit(100 * amount), bench.requester),
        ("earmark_first", bindings.encode_deal_market_earmark(provider, amount), bench.requester),
        ("earmark_again", bindings.encode_deal_market_earmark(provider, amount), bench.requester),
        ("provider_deposit_first", bindings.encode_deal_market_deposit(30 * amount), bench.provider),
        ("stake_first", bindings.encode_deal_market_stake(20 * amount), bench.provider),
        ("set_hot_key_first", bindings.encode_deal_market_set_hot_key(key, 5 * amount), bench.provider),
        ("begin_withdraw", bindings.encode_deal_market_begin_withdraw(amount), bench.provider),
        ("withdraw", bindings.encode_deal_market_withdraw(provider), bench.provider),
    )
    return {name: bench.gas(data, sender) for name, data, sender in steps}


def ways_out(bench: Bench) -> dict[str, int]:
    """Deals that end otherwise than by a claim."""
    accepted = lock_deal(bench).claim
    signature = bench.requester.sign(typed_data.accept_digest(bench.domain, accepted.deal_id))
    figures = {"accept": bench.gas(bindings.encode_deal_market_accept(accepted, signature))}

    _, announced, _, _ = announce(bench, Mode.AWARD, PRICE)
    figures["cancel"] = bench.gas(bindings.encode_deal_market_cancel(announced), bench.requester)

    for _ in range(2):  # the first one makes the counter of burned money
        deal_id, terms = assigned(bench)
        figures["abandon"] = bench.gas(bindings.encode_deal_market_abandon(deal_id, terms, bench.locked_by))

    deal_id, terms = assigned(bench)
    bench.chain.wait(1_000)
    data = bindings.encode_deal_market_expire(deal_id, terms, bench.locked_by)
    figures["expire"] = bench.gas(data, bench.requester)
    return figures


def assigned(bench: Bench) -> tuple[DealId, bindings.Terms]:
    terms, _ = new_terms(bench, Mode.LOCK)
    deal_id = award_digest(bench, terms)
    bench.send(bindings.encode_deal_market_assign(terms, bench.requester.sign(deal_id)))
    return deal_id, terms


def batch(bench: Bench) -> dict[str, float]:
    claims = [lock_deal(bench).claim for _ in range(BATCH)]
    bench.chain.wait(WINDOW_S + 1)
    used = bench.gas(bindings.encode_deal_market_claim_batch(claims))
    return {f"claim_batch_{BATCH}_each": used / BATCH}


def growth(bench: Bench) -> float:
    """Gas that each other open deal adds to a deal; signatures vary, so several deals are averaged."""
    alone = average_total(bench)
    for _ in range(OPEN_DEALS):
        lock_deal(bench)
    return (average_total(bench) - alone) / OPEN_DEALS


def average_total(bench: Bench, deals: int = 5) -> float:
    return sum(sum(finish(bench, lock_deal(bench)).values()) for _ in range(deals)) / deals


# Disputes ------------------------------------------------------------------------------------------------------------


def more_steps(bench: Bench) -> dict[str, int]:
    """Commits of traces with many steps; the second of each, since the first makes nothing that stays."""
    return {f"commit_k{steps}": commit_of(bench, steps) for steps in (16, 1024)}


def commit_of(bench: Bench, steps: int) -> int:
    demand = bindings.DemandCore(SpecDigest(DICE.randbytes(32)), Digest(DICE.randbytes(32)), steps)
    terms = replace(
        new_terms(bench, Mode.LOCK)[0],
        demand_digest=typed_data.demand_digest(demand.spec_digest, demand.input_root, demand.steps),
    )
    deal_id = award_digest(bench, terms)
    bench.send(bindings.encode_deal_market_assign(terms, bench.requester.sign(deal_id)))
    result = replace(new_commitment(), leaves_cid=Digest(DICE.randbytes(32)), step_count=steps)
    leaves = [trace.first_leaf(0, demand.input_root)]
    leaves += [trace.Leaf(i, Digest(DICE.randbytes(32)), 0, Digest(bytes(32)), done=False) for i in range(1, steps)]
    leaves.append(trace.Leaf(steps, result.result_root, 0, Digest(bytes(32)), done=True))
    made = trace.trace_of(deal_id, leaves)
    words = trace.posted(made)
    data = bindings.encode_deal_market_commit_steps(bench.locked_by, terms, demand, deal_id, result, words)
    return bench.gas(data)


def disputes(bench: Bench) -> dict[str, int]:
    """A STEP challenge of a deal of class exact with one step, judged by a committee of three."""
    figures: dict[str, int] = {}
    for upheld in (True, False, True, False):  # the first ones pay for fresh slots
        gas = dispute(bench, upheld=upheld)
        name = "dispute" if upheld else "dispute_overturned"
        figures |= {f"{name}_{part}": used for part, used in gas.items()}
        figures[f"{name}_open_settle"] = gas["challenge"] + gas["settle"]
        figures[f"{name}_total"] = sum(gas.values())
    figures["dispute_committee3_total"] = max(figures["dispute_total"], figures["dispute_overturned_total"])
    return figures


def dispute(bench: Bench, *, upheld: bool) -> dict[str, int]:
    rules = bindings.Rules(
        class_=1,
        sealed=False,
        quorum=0,
        pool=Digest(keccak(CLASS)),
        comparator=Digest(bytes(32)),
        max_state_bytes=2**30,
        step_seconds=60,
        arbiter_fee=VERIFICATION // 3,
        audit_ppm=200_000,
    )
    word = int.from_bytes(keccak(encode((bindings.Rules.ABI,), (rules.to_abi(),))), "big") % 2**192
    demand = bindings.DemandCore(SpecDigest(DICE.randbytes(32)), Digest(DICE.randbytes(32)), word << 64 | 1)
    digest = typed_data.demand_digest(demand.spec_digest, demand.input_root, demand.steps)
    terms = replace(new_terms(bench, Mode.LOCK)[0], demand_digest=digest, window=1_000)
    deal_id = award_digest(bench, terms)
    bench.send(bindings.encode_deal_market_assign(terms, bench.requester.sign(deal_id)))
    result = new_commitment()
    receipt = bench.send(bindings.encode_deal_market_commit(bench.locked_by, terms, demand, deal_id, result))
    deal = committed(bench, deal_id, terms, receipt, {}).claim
    return judged(bench, deal, demand, rules, result, upheld=upheld)


def judged(
    bench: Bench,
    deal: bindings.Claim,
    demand: bindings.DemandCore,
    rules: bindings.Rules,
    result: bindings.Commitment,
    *,
    upheld: bool,
) -> dict[str, int]:
    nothing = Digest(bytes(32))
    first = trace.first_leaf(0, demand.input_root)
    last = trace.Leaf(1, result.result_root, 0, nothing, done=True)
    made = trace.trace_of(deal.deal_id, (first, last))
    leaf, proof = made.leaves[1], [made.leaves[0]]
    statement = bindings.Statement(trace.trace_root(made), result.result_root, result.result_root, nothing, 1, 0)
    grounds = bindings.Grounds(demand, rules, statement)
    answer, salt = DICE.randbytes(32), DICE.randbytes(32)
    challenger = bench.hot_key
    case_id = keccak(encode(("bytes32", "uint256", "uint256", "uint256"), (deal.deal_id, 0, 0, 0)))
    hidden = keccak(
        encode(
            ("bytes32",) * 4 + ("address",),
            (keccak(b"capanode.answer.1"), case_id, answer, salt, "0x" + challenger.address.hex()),
        )
    )
    gas = {
        "challenge": court_gas(
            bench, challenger, bindings.encode_dispute_court_challenge(deal, demand, rules, 0, 0, 0, hidden)
        )
    }
    file = bindings.File(deal, 0, 0, 0, challenger.address, VERIFICATION + GAS_ALLOWANCE, hidden)
    bench.chain.call("evm_mine")
    opening = bindings.Opening(answer, salt)
    shown = bench.chain.send(
        challenger,
        bench.court,
        bindings.encode_dispute_court_show_answer(file, grounds, 0, opening, leaf, proof),
    )
    gas["show_and_draw"] = int(shown["gasUsed"], 16)
    arbiters = drawn(bench, shown)
    vote, found = (1, leaf) if upheld else (2, answer)
    for seat, arbiter in enumerate(arbiters):
        sealed = keccak(
            encode(
                ("bytes32", "bytes32", "uint256", "uint8", "bytes32", "bytes32", "address"),
                (keccak(b"capanode.vote.1"), case_id, 0, vote, found, salt, "0x" + arbiter.address.hex()),
            )
        )
        data = bindings.encode_dispute_court_cast_vote(rules.pool, case_id, seat, sealed)
        gas["cast"] = gas.get("cast", 0) + court_gas(bench, arbiter, data)
    for seat, arbiter in enumerate(arbiters):
        data = bindings.encode_dispute_court_reveal_vote(rules.pool, case_id, seat, vote, found, salt)
        gas["reveal"] = gas.get("reveal", 0) + court_gas(bench, arbiter, data)
    resolving = bindings.encode_dispute_court_resolve(file, grounds, leaf, proof)
    gas["resolve"] = court_gas(bench, challenger, resolving)
    bench.chain.wait(COURT_CLOCKS.appeal_time + 1)
    settling = bindings.encode_dispute_court_settle(file, grounds, [opening])
    gas["settle"] = court_gas(bench, challenger, settling)
    gas["pay_committee"] = court_gas(
        bench, challenger, bindings.encode_dispute_court_pay_committee(rules.pool, case_id, 0)
    )
    return gas


def drawn(bench: Bench, receipt: dict[str, Any]) -> list[Party]:
    """The arbiters whom the log of a draw names, by seat."""
    log = receipt["logs"][-1]
    event = bindings.Drawn.decode([bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:]))
    parties = {party.address: party for party in bench.arbiters}
    return [parties[address] for address in event.arbiters]


def court_gas(bench: Bench, sender: Party, data: bytes) -> int:
    return int(bench.chain.send(sender, bench.court, data)["gasUsed"], 16)


# Values --------------------------------------------------------------------------------------------------------------


def new_terms(bench: Bench, mode: Mode) -> tuple[bindings.Terms, bindings.DemandCore]:
    demand = bindings.DemandCore(SpecDigest(DICE.randbytes(32)), Digest(DICE.randbytes(32)), 1)
    now = bench.chain.now()
    terms = bindings.Terms(
        requester=bench.requester.address,
        provider=bench.provider.address,
        demand_digest=typed_data.demand_digest(demand.spec_digest, demand.input_root, demand.steps),
        price=PRICE,
        verification=VERIFICATION,
        fraud_bond=FRAUD_BOND,
        assign_by=now + 60,
        commit_by=now + 900,
        window=WINDOW_S,
        mode=mode,
        salt=int.from_bytes(DICE.randbytes(SALT_BYTES), "big"),
    )
    return terms, demand


def new_commitment() -> bindings.Commitment:
    root = Digest(DICE.randbytes(32))
    nothing = Digest(bytes(32))
    return bindings.Commitment(
        result_root=root,
        delivery_root=nothing,  # not sealed: the result as it is
        stdout_root=nothing,
        leaves_cid=nothing,
        step_count=1,
        status=0,
        amount=PAID,
    )


def record(terms: bindings.Terms) -> TermsRecord:
    return TermsRecord(
        requester=terms.requester,
        provider=terms.provider,
        demand_digest=DemandDigest(terms.demand_digest),
        price_wei=Wei(terms.price),
        verification_wei=Wei(terms.verification),
        fraud_bond_wei=Wei(terms.fraud_bond),
        assign_by=UnixTime(terms.assign_by),
        commit_by=UnixTime(terms.commit_by),
        window_s=terms.window,
        mode=Mode(terms.mode),
        salt=Digest(terms.salt.to_bytes(32, "big")),
    )


def award_digest(bench: Bench, terms: bindings.Terms) -> DealId:
    return DealId(typed_data.award_digest(bench.domain, record(terms)))


def commitment_digest(event: bindings.DealCommitted) -> Digest:
    words = (event.trace_root, event.result_root, event.delivery_root, event.leaves_cid)
    counts = (event.step_count, event.status)
    return Digest(keccak(b"".join(words) + b"".join(count.to_bytes(32, "big") for count in counts)))


# Set-up --------------------------------------------------------------------------------------------------------------


def deploy(chain: Chain) -> Bench:
    Account.enable_unaudited_hdwallet_features()
    mnemonic = "test test test test test test test test test test test junk"
    keys = (Account.from_mnemonic(mnemonic, account_path=f"m/44'/60'/0'/0/{i}") for i in itertools.count())
    requester, provider, hot_key, *arbiters = (Party(key) for key in itertools.islice(keys, 3 + ARBITERS))
    token = create(chain, requester, "TestToken", b"")
    clocks = bindings.Clocks(
        grace=0, window_floor=WINDOW_S, free_thaw=0, earmark_thaw=0, stake_thaw=0, expire_reward=TOKEN // 100
    )
    nonce = int(chain.call("eth_getTransactionCount", requester.key.address, "latest"), 16)
    court = Address(keccak(rlp.encode([requester.address, nonce + 1]))[12:])  # made right after its market
    market = create(chain, requester, "DealMarket", bindings.encode_deal_market_constructor(token, court, clocks))
    create(chain, requester, "DisputeCourt", bindings.encode_dispute_court_constructor(market, COURT_CLOCKS))
    for party in (requester, provider, hot_key, *arbiters):
        chain.send(party, token, bindings.encode_test_token_mint(party.address, 10**6 * TOKEN))
        chain.send(party, token, bindings.encode_test_token_approve(market, 2**256 - 1))
    domain = typed_data.domain(CHAIN_ID, market)
    pools = Address(bytes.fromhex(chain.read(court, bindings.encode_dispute_court_pools())[2:])[12:])
    for party in (hot_key, *arbiters):
        chain.send(party, market, bindings.encode_deal_market_deposit(10**4 * TOKEN))
    for party in arbiters:
        chain.send(party, pools, bindings.encode_arbiter_pools_enroll(CLASS.decode(), 10**3 * TOKEN))
    return Bench(chain, market, domain, requester, provider, hot_key, provider, court, pools, tuple(arbiters))


def create(chain: Chain, sender: Party, name: str, arguments: bytes) -> Address:
    receipt = chain.send(sender, None, artifacts.load(name).bytecode + arguments)
    return Address(bytes.fromhex(receipt["contractAddress"][2:]))


@contextmanager
def anvil() -> Iterator[Chain]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(ROOT / "tools" / "anvil"), "--silent", "--port", str(port), "--chain-id", str(CHAIN_ID)]
    process = subprocess.Popen(command, stdout=sys.stderr)
    chain = Chain(port)
    try:
        answer_within(chain, seconds=10)
        yield chain
    finally:
        process.terminate()
        process.wait(timeout=10)


def answer_within(chain: Chain, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while True:
        try:
            chain.call("eth_chainId")
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    main()
