// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Claim, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AbandonTest is MarketTest {
    function testFuzz_CostsAHundredthOfThePrice(uint96 price) external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.price = uint96(bound(price, 0, FREE - VERIFICATION));
        bytes32 dealId = assignAs(provider.addr, terms);
        vm.expectEmit(address(market));
        emit IDealMarket.DealRefunded(dealId, provider.addr, terms.price + VERIFICATION, terms.price / 100, 0);
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(stakeOf(provider.addr), STAKE - terms.price / 100);
        vm.assertEq(market.totalBurned(), terms.price / 100);
        (Phase phase,, uint40 deadline,) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.REFUNDED));
        vm.assertEq(deadline, 0);
        assertSettled();
    }

    function test_OnlyByTheProvider() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, requester.addr, provider.addr));
        vm.prank(requester.addr);
        market.abandon(dealId, terms, address(0));
    }

    function test_UntilCommitByAndGrace() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.warp(terms.commitBy + GRACE + 1);
        refused(dealId, terms, abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.commitBy + GRACE));
        vm.warp(terms.commitBy + GRACE);
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
    }

    function test_NotOnceCommitted() external {
        Claim memory c = committed(PRICE);
        refused(
            c.dealId,
            c.terms,
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, c.dealId, Phase.COMMITTED)
        );
    }

    function refused(bytes32 dealId, Terms memory terms, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
    }
}
