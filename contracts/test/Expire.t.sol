// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {Claim, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract ExpireTest is MarketTest {
    function test_BurnsTheDeadlineBondAndRefunds() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.warp(terms.commitBy + GRACE + 1);
        vm.expectEmit(address(market));
        emit IDealMarket.DealRefunded(dealId, provider.addr, ESCROWED, DEADLINE_BOND - EXPIRE_REWARD, 1);
        vm.prank(stranger.addr);
        market.expire(dealId, terms, address(0));
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(freeOf(stranger.addr), EXPIRE_REWARD);
        vm.assertEq(stakeOf(provider.addr), STAKE - DEADLINE_BOND);
        vm.assertEq(market.totalBurned(), DEADLINE_BOND - EXPIRE_REWARD);
        (Phase phase,, uint40 deadline,) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.REFUNDED));
        vm.assertEq(deadline, terms.commitBy + GRACE);
        assertSettled();
    }

    function testFuzz_RewardComesOutOfTheBond(uint96 price) external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.price = uint96(bound(price, 0, 1 ether));
        bytes32 dealId = assignAs(provider.addr, terms);
        vm.warp(terms.commitBy + GRACE + 1);
        vm.prank(stranger.addr);
        market.expire(dealId, terms, address(0));
        uint256 bond = terms.price / 10;
        uint256 reward = bond < EXPIRE_REWARD ? bond : EXPIRE_REWARD;
        vm.assertEq(freeOf(stranger.addr), reward);
        vm.assertEq(market.totalBurned(), bond - reward);
        assertSettled();
    }

    function test_OnlyAfterCommitByAndGrace() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.warp(terms.commitBy + GRACE);
        refused(dealId, terms, abi.encodeWithSelector(IDealMarket.TooEarly.selector, terms.commitBy + GRACE));
    }

    /// @dev At each moment exactly one of commit and expire is possible.
    function testFuzz_CommitAndExpireExcludeEachOther(uint32 later) external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.warp(block.timestamp + bound(later, 0, 1 days));
        bytes memory commitCall =
            abi.encodeCall(IDealMarket.commit, (address(0), terms, demand(1), dealId, newCommitment(PRICE)));
        bytes memory expireCall = abi.encodeCall(IDealMarket.expire, (dealId, terms, address(0)));
        bool late = block.timestamp > terms.commitBy + GRACE;
        vm.prank(provider.addr);
        (bool wrong,) = address(market).call(late ? commitCall : expireCall);
        vm.assertFalse(wrong);
        vm.prank(provider.addr);
        (bool right,) = address(market).call(late ? expireCall : commitCall);
        vm.assertTrue(right);
    }

    function test_NotOnceCommitted() external {
        Claim memory c = committed(PRICE);
        vm.warp(block.timestamp + 365 days);
        refused(
            c.dealId,
            c.terms,
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, c.dealId, Phase.COMMITTED)
        );
    }

    function refused(bytes32 dealId, Terms memory terms, bytes memory reason) private {
        vm.expectRevert(reason);
        market.expire(dealId, terms, address(0));
    }
}
