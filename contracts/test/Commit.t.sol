// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Trace} from "../src/libraries/Trace.sol";
import {Claim, Commitment, DemandCore, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract CommitTest is MarketTest {
    function testFuzz_BindsTheResult(uint96 amount, uint8 status, bytes32 stdoutRoot, bytes32 deliveryRoot)
        external
    {
        Commitment memory c = newCommitment(uint96(bound(amount, 0, PRICE)));
        (c.status, c.stdoutRoot, c.deliveryRoot) = (status, stdoutRoot, deliveryRoot);
        (bytes32 dealId, Terms memory terms) = assigned();
        bytes32 root = traceRoot(dealId, demand(1), c);
        expectCommitted(dealId, root, c, uint40(block.timestamp + terms.window));
        vm.prank(provider.addr);
        market.commit(address(0), terms, demand(1), dealId, c);

        (Phase phase, uint8 open, uint40 deadline, uint200 hash) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.COMMITTED));
        vm.assertEq(open, 0);
        vm.assertEq(deadline, block.timestamp + terms.window);
        bytes32 expected = keccak256(abi.encode(terms, address(0), c.amount, commitmentDigest(root, c)));
        vm.assertEq(hash, uint200(uint256(expected)));
    }

    function test_MovesNoMoney() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        (uint256 free, uint256 locked) = (freeOf(requester.addr), lockedOf(provider.addr));
        commitAs(provider.addr, dealId, terms, address(0), PRICE);
        vm.assertEq(freeOf(requester.addr), free);
        vm.assertEq(lockedOf(provider.addr), locked);
    }

    function test_ZeroDeliveryRootStandsForTheResult() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        Commitment memory c = newCommitment(PRICE);
        c.deliveryRoot = 0;
        vm.prank(provider.addr);
        market.commit(address(0), terms, demand(1), dealId, c);
        (,,, uint200 short) = market.slot(dealId);
        c.deliveryRoot = c.resultRoot;
        bytes32 digest = commitmentDigest(traceRoot(dealId, demand(1), c), c);
        vm.assertEq(short, uint200(uint256(keccak256(abi.encode(terms, address(0), PRICE, digest)))));
    }

    function test_UntilCommitByAndGrace() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.warp(terms.commitBy + GRACE + 1);
        refused(
            dealId,
            terms,
            newCommitment(PRICE),
            demand(1),
            abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.commitBy + GRACE)
        );
        vm.warp(terms.commitBy + GRACE);
        commitAs(provider.addr, dealId, terms, address(0), PRICE);
    }

    function test_OnlyOnce() external {
        Claim memory c = committed(PRICE);
        refused(
            c.dealId,
            c.terms,
            newCommitment(PRICE),
            demand(1),
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, c.dealId, Phase.COMMITTED)
        );
    }

    function test_OnlyByTheProvider() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, stranger.addr, provider.addr));
        vm.prank(stranger.addr);
        market.commit(address(0), terms, demand(1), dealId, newCommitment(PRICE));
    }

    function testFuzz_OnlyWithTheSameTerms(uint256 price, address lockedBy) external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.assume(price % (1 << 96) != PRICE || lockedBy != address(0));
        terms.price = uint96(price);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.TermsMismatch.selector, dealId));
        vm.prank(provider.addr);
        market.commit(lockedBy, terms, demand(1), dealId, newCommitment(0));
    }

    function test_OnlyTheDemandAwarded() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        refused(
            dealId,
            terms,
            newCommitment(PRICE),
            demand(2),
            abi.encodeWithSelector(IDealMarket.DemandMismatch.selector, terms.demandDigest)
        );
    }

    function test_NotAboveThePrice() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        refused(
            dealId,
            terms,
            newCommitment(PRICE + 1),
            demand(1),
            abi.encodeWithSelector(IDealMarket.AmountAbovePrice.selector, PRICE + 1, PRICE)
        );
    }

    function test_StepCountStaysInTheDemand() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        Commitment memory c = newCommitment(PRICE);
        c.stepCount = 0;
        refused(dealId, terms, c, demand(1), abi.encodeWithSelector(Trace.BadStepCount.selector, 0, 1));
        c.stepCount = 2;
        refused(dealId, terms, c, demand(1), abi.encodeWithSelector(Trace.BadStepCount.selector, 2, 1));
    }

    function test_OneStepHasNoLeafList() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        Commitment memory c = newCommitment(PRICE);
        c.leavesCid = keccak256("leaves");
        refused(dealId, terms, c, demand(1), abi.encodeWithSelector(Trace.BadLeavesCid.selector));
    }

    function test_MoreStepsPostTheirLeaves() external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.demandDigest = keccak256(abi.encode(demand(5)));
        bytes32 dealId = assignAs(provider.addr, terms);
        (Commitment memory c, bytes32[] memory leaves) = steps(dealId, 3);
        vm.prank(provider.addr);
        market.commitSteps(address(0), terms, demand(5), dealId, c, leaves);
        assertPhase(dealId, Phase.COMMITTED);
        (,,, uint200 hash) = market.slot(dealId);
        bytes32 digest = commitmentDigest(Trace.treeRoot(leaves), c);
        vm.assertEq(hash, uint200(uint256(keccak256(abi.encode(terms, address(0), c.amount, digest)))));
    }

    function test_EachFunctionTakesItsOwnStepCount() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        (Commitment memory c, bytes32[] memory leaves) = steps(dealId, 3);
        refused(dealId, terms, c, demand(1), abi.encodeWithSelector(Trace.BadStepCount.selector, 3, 1));
        c.stepCount = 1;
        vm.expectRevert(abi.encodeWithSelector(Trace.BadStepCount.selector, 1, 1));
        vm.prank(provider.addr);
        market.commitSteps(address(0), terms, demand(1), dealId, c, leaves);
    }

    function steps(bytes32 dealId, uint32 count)
        private
        pure
        returns (Commitment memory c, bytes32[] memory leaves)
    {
        c = newCommitment(PRICE);
        (c.stepCount, c.leavesCid) = (count, keccak256("leaves"));
        leaves = new bytes32[](count + 1);
        leaves[0] = Trace.leaf(dealId, 0, demand(1).inputRoot, 0, 0, 0);
        for (uint256 i = 1; i < count; ++i) {
            leaves[i] = Trace.leaf(dealId, i, keccak256(abi.encode(i)), 0, 0, 0);
        }
        leaves[count] = Trace.leaf(dealId, count, c.resultRoot, c.status, c.stdoutRoot, 1);
    }

    function expectCommitted(bytes32 dealId, bytes32 root, Commitment memory c, uint40 ends) private {
        vm.expectEmit(address(market));
        emit IDealMarket.DealCommitted(
            dealId,
            requester.addr,
            provider.addr,
            root,
            c.resultRoot,
            c.deliveryRoot == 0 ? c.resultRoot : c.deliveryRoot,
            c.leavesCid,
            c.stepCount,
            c.status,
            c.amount,
            ends,
            address(0)
        );
    }

    function refused(
        bytes32 dealId,
        Terms memory terms,
        Commitment memory c,
        DemandCore memory d,
        bytes memory reason
    ) private {
        vm.expectRevert(reason);
        vm.prank(provider.addr);
        market.commit(address(0), terms, d, dealId, c);
    }
}
