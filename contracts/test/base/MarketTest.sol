// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Domain} from "./Domain.sol";
import {Market} from "./Market.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {TestToken} from "../../src/mocks/TestToken.sol";
import {Claim, Clocks, Commitment, DemandCore, Mode, Phase, Terms} from "../../src/types/Deal.sol";
import {Test} from "./Test.sol";

/// @notice A market with a funded requester and a staked provider, and deals in every phase.
abstract contract MarketTest is Test {
    struct Party {
        uint256 key;
        address addr;
    }

    uint96 internal constant PRICE = 2.5 ether;
    uint96 internal constant VERIFICATION = 0.18 ether;
    uint96 internal constant FRAUD_BOND = 12.5 ether;
    uint96 internal constant DEADLINE_BOND = 0.25 ether;
    uint96 internal constant ESCROWED = PRICE + VERIFICATION;
    uint96 internal constant FREE = 1_000 ether;
    uint96 internal constant EARMARK = 100 ether;
    uint96 internal constant STAKE = 500 ether;
    uint96 internal constant EXPIRE_REWARD = 0.01 ether;
    uint32 internal constant GRACE = 10 minutes;
    uint32 internal constant WINDOW_FLOOR = 1 minutes;
    uint32 internal constant FREE_THAW = 10 minutes;
    uint32 internal constant EARMARK_THAW = 1 hours;
    uint32 internal constant STAKE_THAW = 1 days;
    uint256 internal constant START = 1_800_000_000;

    TestToken internal token;
    Market internal market;
    Party internal requester = _party("requester");
    Party internal provider = _party("provider");
    Party internal hotKey = _party("hot key");
    Party internal stranger = _party("stranger");
    uint256 private salts;

    function setUp() public virtual {
        vm.warp(START);
        token = new TestToken();
        market = deployMarket(address(token), address(0));
        deposit(requester.addr, FREE + EARMARK);
        deposit(provider.addr, STAKE);
        vm.prank(requester.addr);
        market.earmark(provider.addr, EARMARK);
        vm.prank(provider.addr);
        market.stake(STAKE);
    }

    function deployMarket(address token_, address court) internal returns (Market) {
        return Market(deploy("DealMarket.sol:DealMarket", abi.encode(token_, court, clocks())));
    }

    function clocks() internal pure returns (Clocks memory) {
        return Clocks(GRACE, WINDOW_FLOOR, FREE_THAW, EARMARK_THAW, STAKE_THAW, EXPIRE_REWARD);
    }

    function deposit(address holder, uint256 amount) internal {
        token.mint(holder, amount);
        vm.startPrank(holder);
        token.approve(address(market), amount);
        market.deposit(amount);
        vm.stopPrank();
    }

    /* TERMS AND SIGNATURES */

    function newTerms(Mode mode) internal returns (Terms memory) {
        bool open = mode == Mode.AWARD || mode == Mode.FIRST;
        return Terms({
            requester: requester.addr,
            provider: open ? address(0) : provider.addr,
            demandDigest: keccak256(abi.encode(demand(1))),
            price: PRICE,
            verification: VERIFICATION,
            fraudBond: FRAUD_BOND,
            assignBy: uint40(block.timestamp + 1 minutes),
            commitBy: uint40(block.timestamp + 15 minutes),
            window: 2 minutes,
            mode: uint8(mode),
            salt: ++salts
        });
    }

    function demand(uint32 stepLimit) internal pure returns (DemandCore memory) {
        return DemandCore(keccak256("spec"), keccak256("inputs"), stepLimit);
    }

    function newCommitment(uint96 amount) internal pure returns (Commitment memory) {
        return Commitment({
            resultRoot: keccak256("result"),
            deliveryRoot: keccak256("delivery"),
            stdoutRoot: 0,
            leavesCid: 0,
            stepCount: 1,
            status: 0,
            amount: amount
        });
    }

    /// @dev Written apart from the contract's own assembly, so that the two check each other.
    function traceRoot(bytes32 dealId, DemandCore memory d, Commitment memory c)
        internal
        pure
        returns (bytes32)
    {
        uint256 firstStep = d.steps >> 32;
        bytes32 first =
            keccak256(abi.encode(Trace.LEAF, dealId, firstStep, d.inputRoot, uint256(0), bytes32(0), 0));
        bytes32 last = keccak256(
            abi.encode(
                Trace.LEAF, dealId, firstStep + 1, c.resultRoot, uint256(c.status), c.stdoutRoot, uint256(1)
            )
        );
        return keccak256(abi.encode(Trace.NODE, first, last));
    }

    function commitmentDigest(bytes32 root, Commitment memory c) internal pure returns (bytes32) {
        bytes32 delivery = c.deliveryRoot == 0 ? c.resultRoot : c.deliveryRoot;
        return keccak256(
            abi.encode(root, c.resultRoot, delivery, c.leavesCid, uint256(c.stepCount), uint256(c.status))
        );
    }

    function digestOf(bytes32 structHash) internal view returns (bytes32) {
        return Domain.digest(address(market), structHash);
    }

    function awardDigest(Terms memory terms) internal view returns (bytes32) {
        return Domain.award(address(market), terms);
    }

    function announcementDigest(Terms memory terms) internal view returns (bytes32) {
        return digestOf(keccak256(abi.encode(TypedData.ANNOUNCEMENT, terms)));
    }

    function sign(Party memory party, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(party.key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signAward(Terms memory terms) internal view returns (bytes memory) {
        return sign(requester, awardDigest(terms));
    }

    /// @dev The requester's award of an announced deal.
    function signAwardFor(bytes32 dealId, Terms memory announcement, address to, uint96 price)
        internal
        view
        returns (bytes memory)
    {
        Terms memory award = copy(announcement);
        award.provider = to;
        award.price = price;
        award.salt = uint256(dealId);
        return signAward(award);
    }

    function copy(Terms memory terms) internal pure returns (Terms memory) {
        return abi.decode(abi.encode(terms), (Terms));
    }

    /* DEALS IN EACH PHASE */

    function announced(Mode mode) internal returns (bytes32 dealId, Terms memory terms) {
        terms = newTerms(mode);
        vm.prank(requester.addr);
        dealId = market.announce(terms, "locator");
    }

    function assigned() internal returns (bytes32 dealId, Terms memory terms) {
        terms = newTerms(Mode.LOCK);
        dealId = assignAs(provider.addr, terms);
    }

    function assignAs(address sender, Terms memory terms) internal returns (bytes32) {
        bytes memory signature = signAward(terms);
        vm.prank(sender);
        return market.assign(terms, signature);
    }

    function committed(uint96 amount) internal returns (Claim memory) {
        (bytes32 dealId, Terms memory terms) = assigned();
        return commitAs(provider.addr, dealId, terms, address(0), amount);
    }

    function commitAs(address sender, bytes32 dealId, Terms memory terms, address lockedBy, uint96 amount)
        internal
        returns (Claim memory)
    {
        Commitment memory c = newCommitment(amount);
        vm.prank(sender);
        market.commit(lockedBy, terms, demand(1), dealId, c);
        return Claim(terms, lockedBy, amount, commitmentDigest(traceRoot(dealId, demand(1), c), c), dealId);
    }

    function direct(uint96 amount) internal returns (Claim memory) {
        Terms memory terms = newTerms(Mode.DIRECT);
        bytes memory signature = signAward(terms);
        Commitment memory c = newCommitment(amount);
        vm.prank(provider.addr);
        bytes32 dealId = market.assignAndCommit(demand(1), c, terms, signature);
        return Claim(terms, address(0), amount, commitmentDigest(traceRoot(dealId, demand(1), c), c), dealId);
    }

    function afterWindow() internal {
        vm.warp(block.timestamp + 2 minutes + 1);
    }

    function giveHotKey(uint96 ceiling) internal {
        vm.prank(provider.addr);
        market.setHotKey(hotKey.addr, ceiling);
    }

    /* WHAT THE CHAIN HOLDS */

    function phaseOf(bytes32 dealId) internal view returns (Phase phase) {
        (phase,,,) = market.slot(dealId);
    }

    function assertPhase(bytes32 dealId, Phase expected) internal view {
        vm.assertEq(uint256(phaseOf(dealId)), uint256(expected));
    }

    function freeOf(address holder) internal view returns (uint256 free) {
        (free,,) = market.accountOf(holder);
    }

    function stakeOf(address holder) internal view returns (uint256 stake) {
        (, stake,) = market.accountOf(holder);
    }

    function lockedOf(address holder) internal view returns (uint256 locked) {
        (,, locked) = market.accountOf(holder);
    }

    function earmarked() internal view returns (uint256 amount) {
        (amount,,) = market.earmarkOf(requester.addr, provider.addr);
    }

    /// @dev Nothing is in a deal: what the contract holds is what the parties have in it, and what was burned.
    function assertSettled() internal view {
        uint256 sum = earmarked() + market.totalBurned();
        address[4] memory parties = [requester.addr, provider.addr, hotKey.addr, stranger.addr];
        for (uint256 i = 0; i < parties.length; ++i) {
            sum += freeOf(parties[i]) + stakeOf(parties[i]);
            vm.assertEq(lockedOf(parties[i]), 0);
        }
        vm.assertEq(token.balanceOf(address(market)), sum);
    }

    function _party(string memory name) private pure returns (Party memory) {
        uint256 key = uint256(keccak256(bytes(name)));
        return Party(key, vm.addr(key));
    }
}
