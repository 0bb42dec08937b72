// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Trace} from "../src/libraries/Trace.sol";
import {Claim, Commitment, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AssignAndCommitTest is MarketTest {
    function testFuzz_DebitsTheEarmark(uint96 price, uint96 amount) external {
        Terms memory terms = newTerms(Mode.DIRECT);
        terms.price = uint96(bound(price, 0, EARMARK - VERIFICATION));
        amount = uint96(bound(amount, 0, terms.price));
        bytes32 dealId = send(terms, amount);
        vm.assertEq(dealId, awardDigest(terms));
        vm.assertEq(earmarked(), EARMARK - terms.price - VERIFICATION);
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(lockedOf(provider.addr), FRAUD_BOND);
        (Phase phase,, uint40 deadline,) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.COMMITTED));
        vm.assertEq(deadline, block.timestamp + terms.window);
    }

    function test_PaysLikeAnyOther() external {
        Claim memory claim = direct(PRICE - 1);
        afterWindow();
        market.claim(claim);
        vm.assertEq(freeOf(provider.addr), PRICE - 1);
        vm.assertEq(freeOf(requester.addr), FREE + VERIFICATION + 1);
        assertSettled();
    }

    function test_UntilCommitByAndGrace() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        vm.warp(terms.commitBy + GRACE + 1);
        refused(terms, abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.commitBy + GRACE));
        vm.warp(terms.commitBy + GRACE);
        send(terms, PRICE);
    }

    function test_OnlyOnce() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        bytes32 dealId = send(terms, PRICE);
        refused(terms, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.COMMITTED));
    }

    function test_NeedsTheEarmark() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        terms.price = EARMARK;
        uint256 needed = uint256(EARMARK) + VERIFICATION;
        refused(
            terms,
            abi.encodeWithSelector(
                IEscrow.InsufficientEarmark.selector, requester.addr, provider.addr, EARMARK, needed
            )
        );
    }

    function test_NeedsTheStake() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        terms.fraudBond = STAKE + 1;
        refused(
            terms, abi.encodeWithSelector(IStakes.InsufficientStake.selector, provider.addr, STAKE, STAKE + 1)
        );
    }

    function test_NoFraudBondLocksNothing() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        terms.fraudBond = 0;
        send(terms, PRICE);
        vm.assertEq(lockedOf(provider.addr), 0);
    }

    function test_RefusesOtherModesAndWindows() external {
        Terms memory terms = newTerms(Mode.LOCK);
        refused(terms, abi.encodeWithSelector(IDealMarket.WrongMode.selector, Mode.LOCK));
        terms = newTerms(Mode.DIRECT);
        terms.provider = address(0);
        refused(terms, abi.encodeWithSelector(IDealMarket.BadProvider.selector, address(0)));
        terms = newTerms(Mode.DIRECT);
        terms.window = WINDOW_FLOOR - 1;
        refused(terms, abi.encodeWithSelector(IDealMarket.BadWindow.selector, terms.window));
        terms.window = 30 days + 1;
        refused(terms, abi.encodeWithSelector(IDealMarket.BadWindow.selector, terms.window));
    }

    function test_OnlyTheProvider() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        bytes memory signature = signAward(terms);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, stranger.addr, provider.addr));
        vm.prank(stranger.addr);
        market.assignAndCommit(demand(1), newCommitment(PRICE), terms, signature);
    }

    function test_RefusesAForgedAward() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        bytes memory signature = sign(stranger, awardDigest(terms));
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.BadSignature.selector, requester.addr));
        vm.prank(provider.addr);
        market.assignAndCommit(demand(1), newCommitment(PRICE), terms, signature);
    }

    function test_MoreStepsPostTheirLeaves() external {
        Terms memory terms = newTerms(Mode.DIRECT);
        terms.demandDigest = keccak256(abi.encode(demand(2)));
        bytes32 id = awardDigest(terms);
        bytes memory signature = signAward(terms);
        Commitment memory c = newCommitment(PRICE);
        (c.stepCount, c.leavesCid) = (2, keccak256("leaves"));
        bytes32[] memory leaves = new bytes32[](3);
        leaves[0] = Trace.leaf(id, 0, demand(2).inputRoot, 0, 0, 0);
        leaves[2] = Trace.leaf(id, 2, c.resultRoot, 0, 0, 1);
        vm.prank(provider.addr);
        market.assignAndCommitSteps(demand(2), c, terms, signature, leaves);
        assertPhase(id, Phase.COMMITTED);
    }

    function send(Terms memory terms, uint96 amount) private returns (bytes32) {
        bytes memory signature = signAward(terms);
        vm.prank(provider.addr);
        return market.assignAndCommit(demand(1), newCommitment(amount), terms, signature);
    }

    function refused(Terms memory terms, bytes memory reason) private {
        bytes memory signature = signAward(terms);
        vm.expectRevert(reason);
        vm.prank(provider.addr);
        market.assignAndCommit(demand(1), newCommitment(PRICE), terms, signature);
    }
}
